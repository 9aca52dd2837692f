"""Liveness provider protocol with its clips and verdicts.

A provider classifies a clip as live or not; with action liveness, live also means that the person performed the
requested motion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

#: ``asked_motion`` of passive liveness, which requests no motion.
SILENT = "silent"


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip to check."""

    #: (T, H, W, 3) uint8 RGB.
    frames: np.ndarray
    fps: float
    #: Hash of the decoded pixels, see ``media.pixels``; part of the key of a vendor's answer.
    pixels_sha256: str
    #: Names the clip in messages; decides nothing.
    video_id: str = ""


@dataclass(frozen=True)
class Exchange:
    """Record of a vendor call: hashes, attempts, cost and timing."""

    #: Hash of the request without keys, and of the uploaded bytes.
    request_sha256: str
    upload_sha256: str
    attempts: int
    #: In the contract's currency.
    cost: float
    latency_s: float
    #: UTC, ISO 8601.
    answered_at: str


@dataclass(frozen=True)
class Verdict:
    """Verdict of a liveness provider on one clip."""

    #: The clip was classified as a live person (performing the requested motion).
    live: bool
    #: Higher is more live; None if the provider returned no score.
    score: float | None = None
    #: The score is compared with this; None if the provider returned none.
    threshold: float | None = None
    #: Everything else the provider returned; JSON values only.
    evidence: dict[str, Any] = field(default_factory=dict)
    #: None for a local provider.
    exchange: Exchange | None = None


class LivenessProvider(Protocol):
    """A liveness detector, local or behind an API.

    A failure that is not the clip's fault (network) raises ``errors.Failed``: the row becomes ``failed`` and the clip
    gets no verdict. A failure that would hit every further clip (keys, quota) raises ``meter.StopRun``.
    """

    #: Name of the provider in the config and in the verdicts.
    name: str
    #: Whatever determines its verdicts: hash of weights or limits, or API version.
    version: str

    def asked_motion(self, action: str) -> str:
        """Return the motion that this provider checks for ``action``; SILENT if none."""

    def check(self, clip: Clip, action: str) -> Verdict:
        """Check a clip that should show ``action``, one of ``config.base.ACTIONS``."""
