"""Motion transfer of LivePortrait: keypoints of every animated frame, from the motions of a source and a driver.

The face at rest is always the source's. Relative motion adds what the driver did since its start frame, so that the
start frame shows the source as it is; absolute motion takes the driver's pose, and its expression at the keypoints of
eyes and lips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from deepfakemnist.animate.liveportrait.face_motion import FaceMotion
from deepfakemnist.animate.liveportrait.network import Retargeters

Region = Literal["all", "exp", "pose", "lip", "eyes"]

#: Keypoints that move with lips and with eyes (original, src/live_portrait_pipeline.py).
_LIPS = (6, 12, 14, 17, 19, 20)
_EYES = (11, 13, 15, 16, 18)
#: Of absolute expressions, the keypoints taken wholly, and single components of others: keypoint → x, y, z.
_ABSOLUTE = (1, 2, 6, *range(11, 21))
_ABSOLUTE_PARTLY = {3: (1,), 4: (1,), 5: (2,), 8: (2,), 9: (1, 2)}
#: Openness from which a source's lips are closed by ``normalize_lip``.
_OPEN_LIPS = 0.03


@dataclass(frozen=True)
class Transfer:
    """How motion is transferred; the defaults are those of the original's inference.py."""

    relative: bool = True
    region: Region = "all"
    stitching: bool = True
    driving_multiplier: float = 1.0
    normalize_lip: bool = False
    """Close the source's lips first; relative motion without retargeting only."""
    eye_retargeting: bool = False
    lip_retargeting: bool = False
    """Open eyes or lips as the driver does. With relative motion nothing else of the driver's motion is left."""

    @property
    def retargeting(self) -> bool:
        """Whether eyes or lips are retargeted."""
        return self.eye_retargeting or self.lip_retargeting

    @property
    def needs_openness(self) -> bool:
        """Whether the openness of eyes and lips has to be known."""
        return self.retargeting or (self.normalize_lip and self.relative)


@dataclass(frozen=True, eq=False)
class Openness:
    """Openness of eyes and lips: distance of the lids or lips over their width, on T pictures."""

    eyes: Tensor
    """(T, 2): the eye on the picture's left, then the one on its right."""
    lips: Tensor
    """(T, 1)."""


def keypoints(motion: FaceMotion) -> Tensor:
    """Return the keypoints (T, K, 3) of faces as they are; depth is never translated."""
    posed = motion.kp @ motion.rotation + motion.exp
    return motion.scale[..., None] * posed + _in_plane(motion.t)


def driving_keypoints(
    source: FaceMotion,
    driving: FaceMotion,
    start: int,
    transfer: Transfer,
    retargeters: Retargeters,
    source_openness: Openness | None = None,
    driving_openness: Openness | None = None,
) -> Tensor:
    """Return the keypoints (T, K, 3) that the source is warped to.

    Args:
        source: motion of one picture.
        driving: motion of T frames.
        start: driver frame that relative motion starts from.
        transfer: mode and corrections.
        retargeters: perceptrons that correct keypoints.
        source_openness: of the source, if ``transfer.needs_openness``.
        driving_openness: of the driver, if ``transfer.retargeting``.
    """
    still = keypoints(source)
    x = _moved(source, driving, start, transfer)
    if transfer.retargeting:
        assert source_openness is not None and driving_openness is not None
        base = still if transfer.relative else x
        x = base + _retargeted(still, transfer, retargeters, source_openness, driving_openness)
    if transfer.stitching:
        x = stitched(still, x, retargeters)
    if transfer.normalize_lip and transfer.relative and not transfer.retargeting:
        assert source_openness is not None
        if source_openness.lips.item() >= _OPEN_LIPS:
            x = x + _offsets(retargeters.lips(still, source_openness.lips, torch.zeros_like(source_openness.lips)))
    return still + (x - still) * transfer.driving_multiplier


def stitched(source: Tensor, driving: Tensor, retargeters: Retargeters) -> Tensor:
    """Return keypoints (T, K, 3) corrected so that shoulders and background of the source (1, K, 3) stay in place."""
    correction = retargeters.stitching(source.expand_as(driving), driving)
    offsets, plane = correction[:, :-2], correction[:, -2:]
    return driving + _offsets(offsets) + _in_plane(plane)


def _moved(source: FaceMotion, driving: FaceMotion, start: int, transfer: Transfer) -> Tensor:
    """Return the keypoints (T, K, 3) before any correction."""
    region = transfer.region
    shown = torch.zeros_like(source.exp[0], dtype=torch.bool)
    if region in ("all", "exp"):
        if transfer.relative:
            shown[:] = True
        else:
            shown[list(_ABSOLUTE)] = True
            for keypoint, components in _ABSOLUTE_PARTLY.items():
                shown[keypoint, list(components)] = True
    elif region in ("lip", "eyes"):
        shown[list(_LIPS if region == "lip" else _EYES)] = True
    first = FaceMotion(*(part[start : start + 1] for part in driving))
    expression = source.exp + driving.exp - first.exp if transfer.relative else driving.exp
    exp = torch.where(shown, expression, source.exp)

    turn, scale, t = source.rotation, source.scale, source.t
    if region in ("all", "pose"):
        turn = driving.rotation @ first.rotation.mT @ source.rotation if transfer.relative else driving.rotation
        t = source.t + driving.t - first.t if transfer.relative else driving.t
    if region == "all" and transfer.relative:
        scale = source.scale * driving.scale / first.scale
    return scale[..., None] * (source.kp @ turn + exp) + _in_plane(t)


def _retargeted(
    still: Tensor, transfer: Transfer, retargeters: Retargeters, source: Openness, driving: Openness
) -> Tensor:
    """Return the offsets (T, K, 3) that open eyes and lips as the driver does."""
    count = len(driving.lips)
    still = still.expand(count, -1, -1)
    offsets = torch.zeros_like(still)
    if transfer.eye_retargeting:  # both eyes follow the one on the picture's left
        offsets = offsets + _offsets(retargeters.eyes(still, source.eyes.expand(count, -1), driving.eyes[:, :1]))
    if transfer.lip_retargeting:
        offsets = offsets + _offsets(retargeters.lips(still, source.lips.expand(count, -1), driving.lips))
    return offsets


def _offsets(outputs: Tensor) -> Tensor:
    return outputs.unflatten(1, (-1, 3))


def _in_plane(t: Tensor) -> Tensor:
    """(T, 2 or 3) → (T, 1, 3) without depth."""
    return torch.nn.functional.pad(t[:, :2], (0, 1))[:, None]
