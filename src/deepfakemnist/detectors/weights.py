"""Pretrained weights: ImageNet weights from their library, or a file, both checked by SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deepfakemnist.config.base import WeightFile
from deepfakemnist.devices.tensor_files import UnreadableTensors, load_tensors
from deepfakemnist.errors import ConfigError


def fetch_weights(url: str) -> dict[str, Tensor]:
    """Return the weights at a URL whose file name ends in its sha256, from torch's cache or downloaded.

    Raises: ConfigError when they cannot be downloaded, or the cached file has another sha256.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    prefix = file.stem.rsplit("-", 1)[-1]  # file names end in the first digits of their sha256
    # torch checks the hash of downloads, but not of cached files.
    if file.is_file() and not hashlib.sha256(file.read_bytes()).hexdigest().startswith(prefix):
        raise ConfigError(f"{file} is not the file at {url}: its sha256 does not begin with {prefix}. Delete it.")
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"weights: imagenet needs {url}, which could not be downloaded ({error}). Download it on a machine "
            f"with internet access to {file}, or set weights: none to train from scratch."
        ) from error
    return state


def read_weights(file: WeightFile) -> dict[str, Tensor]:
    """Return the state dict of a .safetensors or torch file; a dict with ``state_dict`` or ``model`` is unwrapped.

    Raises: ConfigError when the file is missing, has another sha256, or holds no state dict.
    """
    path = file.path
    if not path.is_file():
        raise ConfigError(f"weights {path}: no such file")
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.sha256:
        raise ConfigError(f"weights {path} have sha256 {found}, but the config asks for {file.sha256}")
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else load_tensors(path)
    except (SafetensorError, UnreadableTensors, RuntimeError) as error:
        raise ConfigError(f"weights {path} cannot be read: {error}") from error
    for name in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"weights {path} hold no state dict (names and tensors)")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_backbone(network: nn.Module, state: dict[str, Tensor], head: tuple[str, ...]) -> None:
    """Load ``state`` into ``network``, except parameters whose name begins with a prefix in ``head``.

    Raises: ValueError for missing or unexpected parameters, RuntimeError for one of another shape.
    """
    body = {name: value for name, value in state.items() if not name.startswith(head)}
    missing, unexpected = network.load_state_dict(body, strict=False)
    missing = [name for name in missing if not name.startswith(head)]
    if missing or unexpected:
        raise ValueError(
            f"{len(missing)} parameters are missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}"
        )
