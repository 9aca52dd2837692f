"""Liveness back ends of the simulated vendors ("witnesses"): the local detectors, or a hash of the upload."""

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

#: Motion in a vendor's terms → action.
ACTION_OF = {
    "0": "blink", "4": "up", "5": "nod", "7": "yaw", "BLINK": "blink", "MOUTH": "mouth", "NOD": "nod", "YAW": "yaw",
}  # fmt: skip
_CACHE_SIZE = 256


@dataclass(frozen=True)
class Observation:
    """What a witness measured in an upload."""

    #: The upload is a decodable video (or image).
    readable: bool
    seconds: float = 0.0
    face: bool = False
    #: P(live), 0..1.
    live: float = 0.0
    #: Motion → score; detected from 1.
    motions: dict[str, float] = field(default_factory=dict)


class Witness(Protocol):
    """Analyses uploads."""

    def video(self, data: bytes, motions: Sequence[str]) -> Observation:
        """Analyse a video file for motions of ``ACTION_OF``."""

    def image(self, data: bytes) -> Observation:
        """Analyse an image file."""


class LocalWitness:
    """The local detectors. Without the weights of local-silent, every moving face counts as live."""

    def __init__(self, silent: LocalSilentSettings | None = None) -> None:
        self._action = LocalAction(LocalActionSettings(provider="local-action"))
        self._silent = None
        if silent:
            from deepfakemnist.liveness.local_silent import LocalSilent

            self._silent = LocalSilent(silent)
        self._cache: OrderedDict[tuple, Observation] = OrderedDict()
        self._lock = threading.Lock()  # one request at a time uses the networks

    def video(self, data: bytes, motions: Sequence[str]) -> Observation:
        """Analyse every frame; results are cached by the upload's hash."""
        key = (hashlib.sha256(data).digest(), *motions)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = self._analyse(data, motions)
                while len(self._cache) > _CACHE_SIZE:
                    self._cache.popitem(last=False)
            return self._cache[key]

    def image(self, data: bytes) -> Observation:
        """Analyse one image."""
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return Observation(readable=False)
        clip = Clip(np.ascontiguousarray(image[None, :, :, ::-1]), 25.0, "")
        with self._lock:
            face = self._action.face_share(clip) > 0
            live = self._silent.check(clip, "").score if self._silent else float(face)
        return Observation(readable=True, face=face, live=live or 0.0)

    def _analyse(self, data: bytes, motions: Sequence[str]) -> Observation:
        with TemporaryDirectory(prefix="simulator-") as folder:
            file = Path(folder, "upload.mp4")
            file.write_bytes(data)
            try:
                fps = probe(file)["fps"]
                frames = read_clip(file)
            except (Failed, Rejected):
                return Observation(readable=False)
        clip = Clip(frames, fps, pixels_sha256(frames))
        actions = [ACTION_OF[motion] for motion in motions]
        verdicts = self._action.check_all(clip, actions or ["blink"])
        any_verdict = next(iter(verdicts.values()))
        face = any_verdict.evidence.get("reason") not in ("no_face", "face_missing")
        still = bool((frames == frames[0]).all())
        live = self._silent.check(clip, "").score if self._silent else float(face and not still)
        scores = {motion: verdicts[ACTION_OF[motion]].score or 0.0 for motion in motions}
        return Observation(readable=True, seconds=len(frames) / fps, face=face, live=live or 0.0, motions=scores)


class HashWitness:
    """Answers from the upload's hash: deterministic and fast, for tests of client, meter and ledger."""

    def video(self, data: bytes, motions: Sequence[str]) -> Observation:
        """Report a face for every MP4; its hash decides liveness and motions."""
        if data[4:8] != b"ftyp":
            return Observation(readable=False)
        scores = {motion: 2 * _fraction(data, motion) for motion in motions}
        return Observation(readable=True, seconds=1.0, face=True, live=_fraction(data, "live"), motions=scores)

    def image(self, data: bytes) -> Observation:
        """Report a face for every JPEG; its hash decides liveness."""
        readable = data[:2] == b"\xff\xd8"
        return Observation(readable=readable, face=readable, live=_fraction(data, "live") if readable else 0.0)


def _fraction(data: bytes, about: str) -> float:
    digest = hashlib.sha256(about.encode() + hashlib.sha256(data).digest()).digest()
    return int.from_bytes(digest[:6]) / 2**48
