"""Checkpoints of the Thin-Plate-Spline Motion Model: architecture from the shapes of tensors, and loading.

``deepfakemnist.animate.checkpoints`` reads the files. The official layout has ``kp_detector``,
``dense_motion_network``, ``inpainting_network``, and mostly ``avd_network``; ``bg_predictor``, which serves training
only, and optimizers are not used.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from deepfakemnist.animate.checkpoints import Checkpoint, State, WeightFormat, load_into, read_states
from deepfakemnist.animate.tpsmm.network import (
    SPLINE_POINTS,
    Architecture,
    AvdArchitecture,
    ThinPlateSplineMotionModel,
)
from deepfakemnist.errors import ConfigError

log = logging.getLogger(__name__)

#: Licence of code and weights, recorded in rows.
LICENCE = "MIT (code); weights: not stated, trained on VoxCeleb"
_NAME = "tpsmm"
_PARTS = ("kp_detector", "dense_motion_network", "inpainting_network")
_AVD = "avd_network"


def load_checkpoint(path: Path | str, sha256: str | None = None) -> ThinPlateSplineMotionModel:
    """Build the networks and load the weights of ``path``; on the CPU, float32, in evaluation mode.

    Args:
        path: checkpoint in the official layout, or safetensors, plain or packed; networks of any size.
        sha256: expected checksum; a file with another one is refused.

    Raises: ConfigError that says what the file is if it is no such checkpoint, or which tensors are wrong.
    """
    checkpoint = _read(Path(path), sha256)
    networks = _networks(checkpoint, architecture_of(checkpoint))
    log.info("loaded animator weights %s (%s)", path, dict(checkpoint.facts) or "epoch unknown")
    return networks


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Return the sizes of the networks, by the shapes of their tensors.

    Raises: ConfigError that names missing tensors, or what is unusual about the sizes.
    """
    shapes = {part: _Shapes(part, state) for part, state in checkpoint.states.items()}
    kp, dense, inpainting = (shapes[part] for part in _PARTS)
    coordinates = kp.length("fg_encoder.fc.bias", 0)
    ups = dense.count(r"up\.\d+\.conv\.weight")
    blocks = dense.count(r"hourglass\.decoder\.up_blocks\.\d+\.conv\.weight")
    architecture = Architecture(
        num_tps=coordinates // (2 * SPLINE_POINTS),
        keypoint_width=kp.length("fg_encoder.conv1.weight", 0),
        block_expansion=inpainting.length("first.conv.weight", 0),
        max_features=inpainting.widest(r"down_blocks\.\d+\.conv\.weight"),
        num_down_blocks=inpainting.count(r"down_blocks\.\d+\.conv\.weight"),
        dense_block_expansion=dense.length(f"hourglass.decoder.up_blocks.{max(blocks - 1, 0)}.conv.weight", 0),
        dense_max_features=dense.widest(r"hourglass\.encoder\.down_blocks\.\d+\.conv\.weight"),
        dense_num_blocks=blocks,
        dense_reduction=2**ups,
        avd=_avd_architecture(shapes[_AVD]) if _AVD in shapes else None,
    )
    missing = [name for part in shapes.values() for name in part.missing]
    if missing:
        raise ConfigError(
            f"animator weights {checkpoint.path} do not have the tensors of the Thin-Plate-Spline Motion Model; "
            f"without {', '.join(dict.fromkeys(missing))}"
        )
    if not coordinates or coordinates % (2 * SPLINE_POINTS):
        raise ConfigError(
            f"animator weights {checkpoint.path}: the key point detector has {coordinates} outputs, which are no whole "
            f"number of splines of {SPLINE_POINTS} points"
        )
    if not 1 <= architecture.num_down_blocks + 1 - ups <= blocks:
        raise ConfigError(
            f"animator weights {checkpoint.path}: {architecture.num_down_blocks} down blocks, {ups} blocks after the "
            f"hourglass and {blocks} in it do not give an occlusion map for every level"
        )
    return architecture


def _read(path: Path, sha256: str | None = None) -> Checkpoint:
    return read_states(path, _PARTS, optional=[_AVD], animator=_NAME, sha256=sha256)


def _networks(checkpoint: Checkpoint, architecture: Architecture) -> ThinPlateSplineMotionModel:
    with torch.device("meta"):
        networks = ThinPlateSplineMotionModel(architecture)
    for part, state in checkpoint.states.items():
        load_into(getattr(networks, part), state, f"animator weights {checkpoint.path}, {part}")
    return networks.eval()


def _model(checkpoint: Checkpoint) -> dict[str, Any]:
    architecture = architecture_of(checkpoint)
    _networks(checkpoint, architecture)
    return asdict(architecture)


#: See ``WeightFormat``.
WEIGHTS = WeightFormat("Thin-Plate-Spline Motion Model", _read, _model, LICENCE)


class _Shapes:
    """Shapes of a network's tensors; notes the names that are missing."""

    def __init__(self, part: str, state: State) -> None:
        self.missing: list[str] = []
        self._part, self._state = part, state

    def length(self, name: str, dimension: int) -> int:
        """Return a length of a tensor; 0 without it."""
        shape = self._state[name].shape if name in self._state else ()
        if len(shape) <= dimension:
            self.missing.append(f"{self._part}.{name}")
            return 0
        return shape[dimension]

    def count(self, pattern: str) -> int:
        """Return the number of tensors whose names match."""
        return len(self._matching(pattern))

    def widest(self, pattern: str) -> int:
        """Return the largest first length of those tensors, which is ``max_features`` where a network reaches it."""
        found = [shape[0] for shape in self._matching(pattern) if shape]
        if not found:
            self.missing.append(f"{self._part}.{pattern}".replace(r"\d+", "0").replace("\\", ""))
        return max(found, default=0)

    def _matching(self, pattern: str) -> list[torch.Size]:
        return [tensor.shape for name, tensor in self._state.items() if re.fullmatch(pattern, name)]


def _avd_architecture(shapes: _Shapes) -> AvdArchitecture:
    *widths, id_size = (shapes.length(f"id_encoder.{index}.bias", 0) for index in (0, 3, 6, 9))
    return AvdArchitecture(tuple(widths), id_size, shapes.length("pose_encoder.9.bias", 0))
