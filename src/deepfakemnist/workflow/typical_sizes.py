"""Bytes that clips and frames of talking heads take, before a run's own tell.

Means over 24 real sources and 20 drivers at 256 px, see docs/disk.md; other sizes in proportion to their area.
"""

from __future__ import annotations

import math

from deepfakemnist.config.dataset import Quality

#: Length of a video where no header says it: VoxCeleb1's mean (Nagrani et al. 2017), seconds.
SECONDS = 8.2
#: Bytes per frame of lossless RGB clips: crops, animations.
CROP, ANIMATION = 43_000, 39_000
#: Bytes per driver frame of the motion that an animator extracts.
_MOTION = {"mesh": 21_000}
_KEYPOINTS = 400
#: Bytes of a clip besides its frames, and those of a fake's marks, of which one is signed.
CONTAINER, MARKS = 1_500, 3_500
#: Bytes in tables, journals and logs per source or candidate, in shards of four videos.
TABLES = 30_000
#: Megabytes of a trained detector, 4 bytes a weight; another one counts as 25 million weights.
CHECKPOINTS = {
    "resnet50": 94, "resnet101": 170, "resnet152": 233, "xception": 83, "efficientnet_b4": 71, "convnext_tiny": 111,
    "clip_norms": 343, "clip_probe": 343, "dct_resnet18": 45, "framediff_resnet18": 45, "r2plus1d_18": 125,
    "meso4": 0.11, "meso4_sharedbn": 0.11, "mesoinception4": 0.11,
}  # fmt: skip
_CHECKPOINT = 100
#: Bytes of a vendor's answer: it fills a block of most file systems.
ANSWER = 4096
#: Bytes per frame, and per frame decoded and stored as lossless WebP: lossless H.264, crf 23, crf 40.
_LOSSLESS, _CRF_23, _CRF_40 = 14_500, 490, 100
_WEBP_LOSSLESS, _WEBP_CRF_23, _WEBP_CRF_40 = 56_800, 53_600, 46_500


def motion_bytes(animator: str) -> int:
    """Return bytes per driver frame of the motion that an animator extracts."""
    return _MOTION.get(animator, _KEYPOINTS)


def checkpoint_bytes(detector: str) -> float:
    """Return bytes of a trained detector."""
    return 1e6 * CHECKPOINTS.get(detector, _CHECKPOINT)


def frame_bytes(quality: Quality) -> float:
    """Return bytes per frame of a clip at a quality, 256 px: exponential in the rate factor."""
    samples = {"rgb24": 3.0, "yuv444p": 2.0}.get(quality.pix_fmt, 1.0)
    if (level := _level(quality)) is None:
        return samples * _LOSSLESS
    return samples * min(_LOSSLESS, _CRF_23 * math.exp(math.log(_CRF_40 / _CRF_23) * (level - 23) / (40 - 23)))


def webp_bytes(quality: Quality) -> float:
    """Return bytes of a frame of 256 px decoded from a quality and stored without loss: linear in the rate factor."""
    if (level := _level(quality)) is None:
        return _WEBP_LOSSLESS
    return min(_WEBP_LOSSLESS, _WEBP_CRF_23 + (_WEBP_CRF_40 - _WEBP_CRF_23) * (level - 23) / (40 - 23))


def _level(quality: Quality) -> float | None:
    """Return the rate factor of a quality, or its quantiser; None if it is lossless."""
    level = quality.qp if quality.crf is None else quality.crf
    return float(level) if level else None
