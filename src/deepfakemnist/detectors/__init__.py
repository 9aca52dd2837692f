"""Deepfake detectors: architectures, pretrained weights, registry and heat maps."""
