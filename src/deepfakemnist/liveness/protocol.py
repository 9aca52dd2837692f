"""What a liveness detector is: it looks at a clip and says whether a live person did what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

#: What ``asks`` answers for a provider that looks at a clip without commanding a motion.
SILENT = "silent"


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


class LivenessProvider(Protocol):
    """A liveness detector, local or behind an API.

    A provider whose answer can fail for reasons that are not the clip's (network, quota) raises ``errors.Failed``:
    the row is then ``failed`` and the clip is not judged.
    """

    #: Name of the provider in the config and in the verdicts.
    name: str
    #: What decides its answers: hash of weights or limits, or version of the API.
    version: str

    def asks(self, action: str) -> str:
        """Return the motion this provider is told to look for when a clip shows ``action``; SILENT when none."""

    def check(self, clip: np.ndarray, fps: float, action: str) -> Verdict:
        """Judge a clip.

        Args:
            clip: (T, H, W, 3) uint8 RGB.
            fps: frames per second of the clip.
            action: facial action the clip should show, one of ``settings.ACTIONS``.
        """
