"""LivePortrait's networks built to the sizes of given tensors, the official ones or any others of the same layout."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from deepfakemnist.animate.liveportrait.appearance import AppearanceExtractor
from deepfakemnist.animate.liveportrait.face_motion import BINS, MotionExtractor
from deepfakemnist.animate.liveportrait.generator import SpadeGenerator
from deepfakemnist.animate.liveportrait.network import LivePortrait, Retargeters
from deepfakemnist.animate.liveportrait.retargeting import KeypointPerceptron
from deepfakemnist.animate.liveportrait.warping import WarpingNetwork
from deepfakemnist.animate.official_files import layout_of
from deepfakemnist.errors import ConfigError

State = Mapping[str, Tensor]

#: Networks of one file each, and the perceptrons of the fifth: name in the files → attribute of ``Retargeters``.
NETWORKS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
PERCEPTRONS = {"retarget_shoulder": "stitching", "retarget_mouth": "lips", "retarget_eye": "eyes"}
PARTS = (*NETWORKS, *PERCEPTRONS)


def build(states: Mapping[str, State], where: str) -> LivePortrait:
    """Return networks of the tensors' sizes on the meta device, without weights.

    Args:
        states: state dict of each of ``PARTS``, spectral norms folded.
        where: what the tensors come from, for messages.

    Raises: ConfigError for tensors that no such networks have.
    """
    shapes = {part: _Shapes(states[part], part, where) for part in PARTS}
    with torch.device("meta"):
        perceptrons = {role: _perceptron(shapes[part]) for part, role in PERCEPTRONS.items()}
        networks = LivePortrait(
            _appearance(shapes["appearance_feature_extractor"]),
            _motion(shapes["motion_extractor"]),
            _warping(shapes["warping_module"]),
            _generator(shapes["spade_generator"]),
            Retargeters(**perceptrons),
        )
    _check_together(shapes)
    return networks


class _Shapes:
    """Shapes of a state dict, asked for by name."""

    def __init__(self, state: State, part: str, where: str) -> None:
        self._state, self._part, self._where = state, part, where

    def __call__(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a tensor. Raises ConfigError if it is missing or has another number of dimensions."""
        if name not in self._state:
            what = layout_of(list(self._state)) or ", ".join(list(self._state)[:3]) or "nothing"
            raise ConfigError(
                f"animator weights {self._where}: {self._part} lacks the tensor {name}, so it is not that of "
                f"LivePortrait; what is there: {what}"
            )
        shape = tuple(self._state[name].shape)
        if len(shape) != dimensions:
            raise ConfigError(
                f"animator weights {self._where}: {self._part} has {name} of shape {shape}; LivePortrait's has "
                f"{dimensions} dimensions"
            )
        return shape

    def outputs(self, pattern: str, dimensions: int) -> list[int]:
        """Return the first dimension of the tensors named ``pattern`` with 0, 1, 2, … for its %d."""
        found: list[int] = []
        while (name := pattern % len(found)) in self._state:
            found.append(self(name, dimensions)[0])
        return found

    def check(self, fits: bool, message: str) -> None:
        """Raise ConfigError with the message unless ``fits``."""
        if not fits:
            raise ConfigError(f"animator weights {self._where}: {self._part} {message}")

    def count(self, pattern: str) -> int:
        """Return the number of distinct first groups of a pattern among the names."""
        return len({found[1] for name in self._state if (found := re.match(pattern, name))})


def _check_together(shapes: Mapping[str, _Shapes]) -> None:
    """Raise ConfigError where the networks are of different models."""
    points = shapes["motion_extractor"]("detector.fc_kp.weight", 2)[0]  # their coordinates
    warping = shapes["warping_module"]
    volume = shapes["appearance_feature_extractor"]("second.weight", 4)[0]
    warped, flat = warping("third.conv.weight", 4)[:2]
    motions = warping("dense_motion_network.mask.weight", 5)[0]
    warping.check(flat == volume, f"takes {flat} channels, but appearance_feature_extractor makes {volume}")
    warping.check(3 * (motions - 1) == points, f"has {motions} motions, but motion_extractor {points // 3} keypoints")
    painted = shapes["spade_generator"]("fc.weight", 4)[1]
    shapes["spade_generator"].check(painted == warped, f"takes {painted} channels, but warping_module makes {warped}")
    for part, inputs in (
        ("retarget_shoulder", 2 * points),
        ("retarget_mouth", points + 2),
        ("retarget_eye", points + 3),
    ):
        found = shapes[part]("mlp.0.weight", 2)[1]
        shapes[part].check(found == inputs, f"takes {found} numbers, but {points // 3} keypoints need {inputs}")


def _appearance(shape: _Shapes) -> AppearanceExtractor:
    first = shape("first.conv.weight", 4)[0]
    down = shape.outputs("down_blocks.%d.conv.weight", 4)
    channels = shape("resblocks_3d.3dr0.conv1.weight", 5)[0]
    flat = shape("second.weight", 4)[0]
    shape.check(flat % channels == 0, f"makes {flat} channels, no multiple of the {channels} of its volume")
    return AppearanceExtractor([first, *down], channels, flat // channels, shape.count(r"resblocks_3d\.3dr(\d+)\."))


def _motion(shape: _Shapes) -> MotionExtractor:
    first = shape("detector.downsample_layers.0.0.weight", 4)[0]
    widths = [first, *(shape(f"detector.downsample_layers.{stage}.1.weight", 4)[0] for stage in (1, 2, 3))]
    depths = [shape.count(rf"detector\.stages\.{stage}\.(\d+)\.") for stage in range(len(widths))]
    bins = shape("detector.fc_pitch.weight", 2)[0]
    shape.check(bins == BINS, f"has {bins} bins of an angle; LivePortrait has {BINS}")
    return MotionExtractor(depths, widths, shape("detector.fc_kp.weight", 2)[0] // 3)


def _warping(shape: _Shapes) -> WarpingNetwork:
    dense = "dense_motion_network"
    outputs, features = shape(f"{dense}.mask.weight", 5)[:2]
    compressed, channels = shape(f"{dense}.compress.weight", 5)[:2]
    width, flat = shape("third.conv.weight", 4)[:2]
    down = shape.outputs(f"{dense}.hourglass.encoder.down_blocks.%d.conv.weight", 5)
    up = shape.outputs(f"{dense}.hourglass.decoder.up_blocks.%d.conv.weight", 5)
    shape.check(
        len(down) == len(up) > 0 and features == outputs * (compressed + 1) + up[-1] and flat % channels == 0,
        f"has {len(down)} blocks down, {len(up)} up and {features} features for {outputs} motions, which do not fit",
    )
    return WarpingNetwork(outputs - 1, channels, flat // channels, compressed, down, up, width)


def _generator(shape: _Shapes) -> SpadeGenerator:
    width, features = shape("fc.weight", 4)[:2]
    up = [shape(f"up_{number}.conv_1.weight", 4)[0] for number in (0, 1)]
    colours = shape("conv_img.0.weight", 4)[0]
    upscale = math.isqrt(colours // 3)
    shape.check(colours == 3 * upscale**2, f"makes {colours} channels, not 3 times a square")
    hidden = shape("up_0.norm_0.mlp_shared.0.weight", 4)[0]
    return SpadeGenerator(features, width, shape.count(r"G_middle_(\d+)\."), up, hidden, upscale)


def _perceptron(shape: _Shapes) -> KeypointPerceptron:
    layers = shape.count(r"mlp\.(\d+)\.weight")
    shapes = [shape(f"mlp.{2 * number}.weight", 2) for number in range(layers)]
    shape.check(layers > 0, "has no layers")
    return KeypointPerceptron([shapes[0][1], *(outputs for outputs, _ in shapes)])
