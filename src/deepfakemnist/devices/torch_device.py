"""Selection of the torch device for a network."""

from __future__ import annotations

import torch

from deepfakemnist.errors import ConfigError


def choose_device(device: str) -> torch.device:
    """Return the device for ``auto`` (CUDA where torch sees a GPU, else the CPU), ``cpu`` or ``cuda``.

    Raises: ConfigError for other names, or ``cuda`` without a GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {device!r} is not allowed; use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch sees no GPU; use auto or cpu, or install the CUDA build of torch")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
