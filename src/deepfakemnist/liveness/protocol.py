"""What a liveness detector is: it looks at a clip and says whether a live person did what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

#: What ``asks`` answers for a provider that looks at a clip without commanding a motion.
SILENT = "silent"


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip to be judged."""

    #: (T, H, W, 3) uint8 RGB.
    frames: np.ndarray
    fps: float
    #: Hash of the decoded pixels, see ``media.pixels``; answers of vendors are kept by it.
    pixels_sha256: str


@dataclass(frozen=True)
class Exchange:
    """What an answer of a vendor took."""

    #: Of everything that was asked, without keys; of the bytes uploaded.
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
    """Answer of a liveness detector about one clip."""

    #: The clip was taken for a live person (doing what was asked).
    live: bool
    #: Higher is more live; None when the provider gave no number.
    score: float | None = None
    #: The score was held against this; None when the provider gave none.
    threshold: float | None = None
    #: Everything else the provider said; JSON values only.
    evidence: dict[str, Any] = field(default_factory=dict)
    #: None for a local provider.
    exchange: Exchange | None = None


class LivenessProvider(Protocol):
    """A liveness detector, local or behind an API.

    A provider whose answer can fail for reasons that are not the clip's (network) raises ``errors.Failed``: the row is
    then ``failed`` and the clip is not judged. What no further clip would survive (keys, quota) is ``meter.StopRun``.
    """

    #: Name of the provider in the config and in the verdicts.
    name: str
    #: What decides its answers: hash of weights or limits, or version of the API.
    version: str

    def asks(self, action: str) -> str:
        """Return the motion this provider is told to look for when a clip shows ``action``; SILENT when none."""

    def check(self, clip: Clip, action: str) -> Verdict:
        """Judge a clip that should show ``action``, one of ``settings.ACTIONS``."""
