"""Detector training: data loading, training loop, checkpoints, inference and robustness tests."""
