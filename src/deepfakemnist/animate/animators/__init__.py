"""Available animators, one module per value of ``animator.name``; see :mod:`deepfakemnist.animate.registry`."""
