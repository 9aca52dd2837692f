"""ImageNet weights of a run's detectors as files of the run: jobs on nodes without internet start from them."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors.torch import save_file

from deepfakemnist.detectors.registry import imagenet_weights
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)


def store_imagenet_weights(name: str, path: Path) -> None:
    """Write the library's ImageNet weights of a detector to a safetensors file.

    Args:
        name: a name of the registry, or timm:NAME.
        path: file to write.

    Raises: ConfigError where there are none, or they cannot be downloaded.
    """
    # Tensors may share memory or be views, which the format does not take.
    state = {key: value.detach().cpu().contiguous().clone() for key, value in imagenet_weights(name).items()}
    with atomic_path(path) as part:
        save_file(state, part)
    log.info("%s: ImageNet weights of %s, sha256 %s", path, name, file_facts(path).sha256)
