"""Weights that a detector starts from: ImageNet's from their library, or those of a file, looked at before use."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from deepfakemnist.config.base import WeightFile
from deepfakemnist.errors import ConfigError


def fetched(url: str) -> dict[str, Tensor]:
    """Return the weights behind an address, from torch's cache or downloaded; the name must end in its sha256.

    Raises: ConfigError when neither gives them, or the cached file is another one.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    wanted = file.stem.rsplit("-", 1)[-1]  # file names end in the first digits of their sha256
    # torch looks at the hash of what it downloads, but not of what it finds.
    if file.is_file() and not hashlib.sha256(file.read_bytes()).hexdigest().startswith(wanted):
        raise ConfigError(f"{file} is not what {url} gives: its sha256 does not begin with {wanted}. Delete it.")
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"weights: imagenet needs {url}, which could not be downloaded ({error}). Fetch it on a machine with "
            f"a network and put it at {file}, or set weights: none to train from scratch."
        ) from error
    return state


def read_weights(file: WeightFile) -> dict[str, Tensor]:
    """Return the state dict of a .safetensors or torch file; a dict with ``state_dict`` or ``model`` is unwrapped.

    Raises: ConfigError when the file is missing, is not the one meant, or holds something else.
    """
    path = file.path
    if not path.is_file():
        raise ConfigError(f"weights {path}: there is no such file")
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.sha256:
        raise ConfigError(f"weights {path} have sha256 {found}, but the config asks for {file.sha256}")
    try:
        state: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(f"weights {path} cannot be read: {error}") from error
    for name in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"weights {path} hold no state dict (names and tensors)")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_all_but_head(network: nn.Module, state: dict[str, Tensor], head: tuple[str, ...]) -> None:
    """Load ``state`` into ``network`` except for what begins with ``head``.

    Raises: ValueError when a value is left over or missing, RuntimeError when one has another shape.
    """
    body = {name: value for name, value in state.items() if not name.startswith(head)}
    missing, unexpected = network.load_state_dict(body, strict=False)
    missing = [name for name in missing if not name.startswith(head)]
    if missing or unexpected:
        raise ValueError(f"{len(missing)} values are missing {missing[:3]}, {len(unexpected)} unknown {unexpected[:3]}")
