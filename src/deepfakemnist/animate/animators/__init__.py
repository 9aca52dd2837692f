"""Animators that ``animator.name`` may name, one module each; see :mod:`deepfakemnist.animate.registry`."""
