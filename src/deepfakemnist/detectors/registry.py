"""Registry of detectors by name; a new family is a module with ``DETECTORS``, added to ``_FAMILIES``.

Other packages add one by an entry point, see :mod:`deepfakemnist.config.plugins`.
"""

from __future__ import annotations

from torch import Tensor

from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.plugins import DETECTORS as PLUGINS
from deepfakemnist.config.plugins import plugins
from deepfakemnist.detectors import frequency, meso, temporal, timm_nets, torchvision_nets
from deepfakemnist.detectors.base import Detector, DetectorConfig, DetectorSpec
from deepfakemnist.detectors.weights import read_weights
from deepfakemnist.errors import ConfigError

_FAMILIES = (torchvision_nets, timm_nets, meso, frequency, temporal)
DETECTORS: dict[str, DetectorSpec] = {spec.config.name: spec for family in _FAMILIES for spec in family.DETECTORS}
#: Every network here downsamples its input by at least 32.
_MIN_SIZE = 32


def detector_spec(name: str) -> DetectorSpec:
    """Return the registry entry of a detector. Raises: ConfigError for an unknown name, listing the known ones."""
    if name.startswith(timm_nets.PREFIX):
        return timm_nets.timm_spec(name)
    if name in DETECTORS:
        return DETECTORS[name]
    added = plugins(PLUGINS, frozenset(DETECTORS))
    if name not in added:
        known = ", ".join(sorted((*DETECTORS, *added)))
        raise ConfigError(f"unknown detector {name!r}; allowed: {known}, and timm:NAME")
    plugin = added[name]
    if plugin.problem:
        raise ConfigError(f"detector {name}: {plugin.problem}")
    if not isinstance(plugin.content, DetectorSpec) or plugin.content.config.name != name:
        raise ConfigError(
            f"detector {name}: {plugin.module} of {plugin.package} must name a DetectorSpec whose config has this name"
        )
    return plugin.content


def detector_config(name: str) -> DetectorConfig:
    """Return the default config of a detector. Raises: ConfigError for an unknown name."""
    return detector_spec(name).config


def build(
    name: str, weights: str | WeightFile = "none", image_size: int | None = None, dropout: float | None = None
) -> Detector:
    """Build a detector with one logit.

    Args:
        name: a name of the registry, or timm:NAME.
        weights: ``none`` for random weights from torch's global generator, ``imagenet``, or a file.
        image_size: side of the input, pixels; None for the size the detector was published with.
        dropout: dropout before the last layer; None for the detector's default.

    Returns: a module from uint8 RGB pixels (B, 3, S, S), or (B, T, 3, S, S) for a clip detector, to logits (B,), with
    built-in normalisation.

    Raises: ConfigError for an unknown name, unsupported weights or size, and weights that cannot be loaded.
    """
    spec = detector_spec(name)
    config = spec.config
    kind = "path" if isinstance(weights, WeightFile) else weights
    if kind not in config.weights:
        raise ConfigError(f"{name} cannot start from weights {kind!r}; allowed: {', '.join(config.weights)}")
    size = config.input_size if image_size is None else image_size
    if size < _MIN_SIZE:
        raise ConfigError(
            f"image_size {size} is too small for {name}, which downsamples its input by 32; allowed: 32 or more"
        )
    if config.fixed_size and size != config.input_size:
        raise ConfigError(f"image_size {size} is not supported by {name}; allowed: {config.input_size}")
    network = spec.network(size, config.dropout if dropout is None else dropout)
    if kind != "none":
        state = read_weights(weights) if isinstance(weights, WeightFile) else imagenet_weights(name)
        where = str(weights.path) if isinstance(weights, WeightFile) else "imagenet"
        assert spec.load is not None
        try:
            spec.load(network, state)
        except (ValueError, RuntimeError, KeyError) as error:
            raise ConfigError(f"weights {where} do not fit {name}: {error}") from error
    return Detector(network, config, size)


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """Return the library's ImageNet weights of a detector, from its cache or downloaded, checked by their sha256.

    Raises: ConfigError where there are none, or they cannot be downloaded.
    """
    spec = detector_spec(name)
    if spec.imagenet is None:
        raise ConfigError(f"{name} cannot start from weights 'imagenet'; allowed: {', '.join(spec.config.weights)}")
    return spec.imagenet()
