"""Who looks at what was uploaded to the simulated vendors: the local detectors, or nobody at all."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import cv2
import numpy as np

from deepfakemnist.config.liveness import LocalActionSettings, LocalSilentSettings
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.liveness.local_action import LocalAction
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.media.probe import probe

#: The action behind each motion that the vendors know.
ACTION_OF = {
    "0": "blink", "4": "up", "5": "nod", "7": "yaw", "BLINK": "blink", "MOUTH": "mouth", "NOD": "nod", "YAW": "yaw",
}  # fmt: skip
_REMEMBERED = 256


@dataclass(frozen=True)
class Seen:
    """What a witness saw in an upload."""

    #: It is a video (or picture) that can be read.
    readable: bool
    seconds: float = 0.0
    face: bool = False
    #: P(live), 0..1.
    live: float = 0.0
    #: Motion → how clearly it shows; seen from 1.
    motions: dict[str, float] = field(default_factory=dict)


class Witness(Protocol):
    """Looks at uploads."""

    def video(self, data: bytes, motions: Sequence[str]) -> Seen:
        """Look at a video file, for motions of ``ACTION_OF``."""

    def picture(self, data: bytes) -> Seen:
        """Look at a picture file."""


class LocalWitness:
    """The local detectors. Without the weights of local-silent, whatever shows a moving face is live."""

    def __init__(self, silent: LocalSilentSettings | None = None) -> None:
        self._action = LocalAction(LocalActionSettings(provider="local-action"))
        self._silent = None
        if silent:
            from deepfakemnist.liveness.local_silent import LocalSilent

            self._silent = LocalSilent(silent)
        self._seen: OrderedDict[tuple, Seen] = OrderedDict()
        self._lock = threading.Lock()  # the networks serve one at a time

    def video(self, data: bytes, motions: Sequence[str]) -> Seen:
        """Look at every frame; equal uploads are looked at once."""
        key = (hashlib.sha256(data).digest(), *motions)
        with self._lock:
            if key not in self._seen:
                self._seen[key] = self._look(data, motions)
                while len(self._seen) > _REMEMBERED:
                    self._seen.popitem(last=False)
            return self._seen[key]

    def picture(self, data: bytes) -> Seen:
        """Look at one picture."""
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            return Seen(readable=False)
        clip = Clip(np.ascontiguousarray(picture[None, :, :, ::-1]), 25.0, "")
        with self._lock:
            face = self._action.face_share(clip) > 0
            live = self._silent.check(clip, "").score if self._silent else float(face)
        return Seen(readable=True, face=face, live=live or 0.0)

    def _look(self, data: bytes, motions: Sequence[str]) -> Seen:
        with TemporaryDirectory(prefix="simulator-") as folder:
            file = Path(folder, "upload.mp4")
            file.write_bytes(data)
            try:
                fps = probe(file)["fps"]
                frames = read_clip(file)
            except (Failed, Rejected):
                return Seen(readable=False)
        clip = Clip(frames, fps, pixels_sha256(frames))
        actions = [ACTION_OF[motion] for motion in motions]
        verdicts = self._action.check_all(clip, actions or ["blink"])
        any_verdict = next(iter(verdicts.values()))
        face = any_verdict.evidence.get("reason") not in ("no_face", "face_missing")
        still = bool((frames == frames[0]).all())
        live = self._silent.check(clip, "").score if self._silent else float(face and not still)
        scores = {motion: verdicts[ACTION_OF[motion]].score or 0.0 for motion in motions}
        return Seen(readable=True, seconds=len(frames) / fps, face=face, live=live or 0.0, motions=scores)


class HashWitness:
    """Answers by the upload's hash, without looking: the same for the same bytes, and fast, for tests of the road."""

    def video(self, data: bytes, motions: Sequence[str]) -> Seen:
        """Every MP4 shows a face; whether it is live and moves is told by its hash."""
        if data[4:8] != b"ftyp":
            return Seen(readable=False)
        scores = {motion: 2 * _fraction(data, motion) for motion in motions}
        return Seen(readable=True, seconds=1.0, face=True, live=_fraction(data, "live"), motions=scores)

    def picture(self, data: bytes) -> Seen:
        """Every JPEG shows a face."""
        readable = data[:2] == b"\xff\xd8"
        return Seen(readable=readable, face=readable, live=_fraction(data, "live") if readable else 0.0)


def _fraction(data: bytes, about: str) -> float:
    digest = hashlib.sha256(about.encode() + hashlib.sha256(data).digest()).digest()
    return int.from_bytes(digest[:6]) / 2**48
