"""Further measures of ``benchmarks/transfer.py``: an independent landmark network, the background, liveness."""

from __future__ import annotations

import hashlib
from pathlib import Path

import dlib  # type: ignore[import-untyped]
import numpy as np

from deepfakemnist.animation_quality.motion import ACTION_SIGNALS, MIN_AMPLITUDE, Signals, amplitude
from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.liveness import LocalSilentSettings
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.landmarks import FaceLandmarks
from deepfakemnist.faces.person_mask import PersonMask
from deepfakemnist.liveness.local_action import movements, score_action
from deepfakemnist.liveness.local_silent import LocalSilent

#: Below this, a mask says that a pixel is background; a change of more levels is seen.
BACKGROUND, SEEN = 0.02, 4
#: Least share of a picture that must be background to be measured.
LEAST_BACKGROUND = 0.03
FPS = 25.0
#: Percentile of lid distances at which eyes are open.
OPEN = 90


class SecondLandmarks:
    """Motion signals by dlib's 68 points, which neither drive any animator here nor judge in the workflow.

    Args:
        path: ``shape_predictor_68_face_landmarks.dat``; it was trained on images for non-commercial use.
    """

    def __init__(self, path: Path) -> None:
        self._detect = FaceDetector()
        self._predict = dlib.shape_predictor(str(path))

    def signals(self, clip: np.ndarray) -> Signals:
        """Return the signals of a clip (T, H, W, 3), (T,) each, in units of the distance between the outer eye corners.

        Lip and brow distances, the width of the mouth, and for the head the place of the nose between the eyes; the
        angle of the eyes is in degrees, and lids are relative to how far they are apart when open. NaN without a face.
        """
        rows = [self._of_frame(frame) for frame in clip]
        signals = {name: np.array([row[name] if row else np.nan for row in rows]) for name in MIN_AMPLITUDE}
        # Eyes differ in size more than mouths and noses do.
        signals["blink"] /= np.nanpercentile(-signals["blink"], OPEN) if rows and any(rows) else 1
        return signals

    def _of_frame(self, frame: np.ndarray) -> dict[str, float]:
        faces = self._detect(frame)
        if not faces:
            return {}
        x, y, width, height = faces[0].box
        # YuNet's boxes reach higher than dlib's.
        box = dlib.rectangle(round(x), round(y + 0.15 * height), round(x + width), round(y + height))
        shape = self._predict(np.ascontiguousarray(frame), box)
        points = np.array([(part.x, part.y) for part in shape.parts()], float)
        right, left = points[36], points[45]
        across = left - right
        unit = float(np.linalg.norm(across))
        along, down = across / unit, np.array([-across[1], across[0]]) / unit

        def apart(pairs: list[tuple[int, int]]) -> float:
            return float(np.mean([np.linalg.norm(points[one] - points[other]) for one, other in pairs]) / unit)

        nose = points[30] - (right + left) / 2
        return {
            "blink": -apart([(37, 41), (38, 40), (43, 47), (44, 46)]),
            "jaw": apart([(61, 67), (62, 66), (63, 65)]),
            "smile": apart([(48, 54)]),
            "brow": float(np.mean([(points[eye] - points[brow]) @ down for brow, eye in ((19, 37), (24, 44))]) / unit),
            "yaw": float(nose @ along / unit),
            "pitch": float(nose @ down / unit),
            "roll": float(np.degrees(np.arctan2(across[1], across[0]))),
        }


def silent_detector(folder: Path) -> LocalSilent:
    """Return MiniFASNet with the weight files of a folder."""

    def file(name: str) -> WeightFile:
        return WeightFile(path=folder / name, sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest())

    return LocalSilent(
        LocalSilentSettings(
            provider="local-silent",
            minifasnet_v2=file("2.7_80x80_MiniFASNetV2.pth"),
            minifasnet_v1se=file("4_0_0_80x80_MiniFASNetV1SE.pth"),
        )
    )


def second_transfer(action: str, driver: Signals, of_driver: Signals, of_result: Signals) -> float:
    """Return the slope of the result's second signals on the driver's, a mean over what the action shows.

    Args:
        action: of the driver.
        driver: the driver's signals by ``measure_action``, which say what it shows.
        of_driver, of_result: by :class:`SecondLandmarks`.
    """
    slopes = []
    for name in ACTION_SIGNALS[action]:
        given, shown = of_driver[name], of_result[name]
        both = np.isfinite(given) & np.isfinite(shown) & np.isfinite(driver[name])
        if amplitude(driver[name][both]) >= MIN_AMPLITUDE[name]:
            x, y = given[both] - given[both].mean(), shown[both] - shown[both].mean()
            slopes.append(x @ y / (x @ x))
    return float(np.mean(slopes)) if slopes else float("nan")


def background(source: np.ndarray, clip: np.ndarray, mask: PersonMask) -> tuple[float, float]:
    """Return the share of background pixels that change by more than 4 levels, and the mean change between frames.

    Background is what the mask calls so in the source and in every frame; NaN where that is hardly anything.
    """
    person = np.max([mask(frame) for frame in (source, *clip[:: max(len(clip) // 12, 1)])], axis=0)
    where = person < BACKGROUND
    if where.mean() < LEAST_BACKGROUND:
        return float("nan"), float("nan")
    pixels = clip[:, where].astype(np.int16)
    changed = np.abs(pixels - source[where]).max(axis=-1) > SEEN
    return float(changed.mean()), float(np.abs(np.diff(pixels, axis=0)).mean())


def accepted(action: str, faces: list[FaceLandmarks | None]) -> float:
    """Return 1 if the provider local-action takes a clip for a live person who performs the action, else 0."""
    return float(score_action(movements(faces, FPS), action).score >= 1)
