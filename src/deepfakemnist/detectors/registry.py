"""The detectors by name. A new family is a file with its ``DETECTORS``, added to the line below."""

from __future__ import annotations

from deepfakemnist.detectors import meso, resnet
from deepfakemnist.detectors.base import Detector, DetectorConfig, DetectorSpec
from deepfakemnist.errors import ConfigError

DETECTORS: dict[str, DetectorSpec] = {spec.config.name: spec for spec in (*resnet.DETECTORS, *meso.DETECTORS)}


def detector_config(name: str) -> DetectorConfig:
    """Return the default config of a detector. Raises: ConfigError for an unknown name, listing the known ones."""
    if name not in DETECTORS:
        raise ConfigError(f"there is no detector {name!r}; there are {', '.join(sorted(DETECTORS))}")
    return DETECTORS[name].config


def build(name: str, weights: str = "none", image_size: int | None = None) -> Detector:
    """Build a detector with one logit.

    Args:
        name: a name of the registry.
        weights: ``none`` for random weights drawn from torch's global generator, or ``imagenet``.
        image_size: side of the input, pixels; None for the size the detector was published for.

    Returns: a module from uint8 RGB pixels (B, 3, S, S) to logits (B,); normalisation happens inside.

    Raises: ConfigError for a name, weights or size it cannot have, and for weights that cannot be downloaded.
    """
    config = detector_config(name)
    if weights not in config.weights:
        raise ConfigError(f"{name} cannot start from weights {weights!r}; allowed: {', '.join(config.weights)}")
    size = config.input_size if image_size is None else image_size
    if size < 32:
        raise ConfigError(
            f"image_size {size} is too small for {name}, which shrinks its input 32 times; allowed: 32 up"
        )
    return Detector(DETECTORS[name].network(weights, size), config, size)
