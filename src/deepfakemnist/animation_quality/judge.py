"""Quality scores of animations per clip and action: action transfer, identity, sharpness, tearing, reconstruction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from deepfakemnist.animation_quality.image_metrics import (
    Frames,
    identity_kept,
    keypoint_error,
    reconstruction_l1,
    sharpness_ratio,
)
from deepfakemnist.animation_quality.motion import action_direction, action_transfer, measure_action
from deepfakemnist.animation_quality.tearing import tearing
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks
from deepfakemnist.tables.schemas import Row

#: Evenly spaced frames to embed; an embedding costs as much as the landmarks of ten frames.
_EMBEDDED_FRAMES = 4
#: Name of the row of ``quality_table`` over all actions.
ALL_ACTIONS = "all"


@dataclass(frozen=True)
class ClipQuality:
    """Quality scores of one fake; NaN where undefined."""

    action: str
    #: Fraction of the evaluated result frames that show a face, 0..1.
    face_share: float
    #: Amplitude of the action relative to the driver's, along the driver's curve: 1 equal, 0 none. See action_transfer.
    transfer: float
    #: Correlation of result and driver in the signals of the action, -1..1.
    correlation: float
    #: Fraction of the result's motion in the direction of the action, -1..1. See action_direction.
    direction: float
    #: 1 for the source person, 0 for chance similarity. See identity_kept.
    identity_kept: float
    #: Sharpness of the face relative to the source frame.
    sharpness_ratio: float
    #: Instability of the face's outline in the worst frames. See tearing.
    tearing: float = float("nan")
    #: Self-reenactment only, i.e. the driver is the clip of the source: mean absolute pixel error, 0..1, and mean
    #: landmark error in units of the distance between the outer eye corners.
    reconstruction_l1: float = float("nan")
    keypoint_error: float = float("nan")


METRICS = tuple(field.name for field in fields(ClipQuality) if field.name != "action")


def assess_clip(
    source_frame: np.ndarray,
    driver_frames: Frames,
    result_frames: Frames,
    action: str,
    landmarker: FaceLandmarker,
    embedder: FaceEmbedder,
    others: np.ndarray,
    *,
    every: int = 1,
    same_clip: bool = False,
    driver_faces: Sequence[FaceLandmarks | None] | None = None,
) -> ClipQuality:
    """Score one animation; a missing face never raises.

    Args:
        source_frame: (H, W, 3) uint8 RGB, the animated image.
        driver_frames, result_frames: (T, H, W, 3) uint8 RGB each, aligned in time.
        action: action of the driver.
        landmarker, embedder: the networks to use.
        others: (N, 128) embeddings of people other than the source; if empty, identity_kept is NaN.
        every: evaluate every n-th frame. A blink lasts two to ten frames at 25 fps: keep 1 for blinks.
        same_clip: the driver is the clip of the source (self-reenactment), so its frames are the ground truth.
        driver_faces: landmarks of all driver frames as by ``landmarker.track(driver_frames[::every])``, where they are
            known; ``driver_frames`` may then be empty, unless ``same_clip``.

    Raises:
        ConfigError: unknown action.
        ValueError: driver and result of different lengths.
    """
    driver_frames, result_frames = driver_frames[::every], result_frames[::every]
    length = len(driver_frames if driver_faces is None else driver_faces)
    if length != len(result_frames):
        raise ValueError(f"driver and result must be equally long, but have {length} and {len(result_frames)} frames")
    if driver_faces is None:
        driver_faces = landmarker.track(driver_frames)
    result_faces = landmarker.track(result_frames)
    result_signals = measure_action(result_faces)
    transfer = action_transfer(action, measure_action(driver_faces), result_signals)
    source_face = landmarker(source_frame)
    return ClipQuality(
        action=action,
        face_share=float(np.mean([face is not None for face in result_faces])) if len(result_faces) else float("nan"),
        transfer=transfer.slope,
        correlation=transfer.correlation,
        direction=action_direction(action, result_signals),
        identity_kept=_identity(source_frame, result_frames, embedder, others),
        sharpness_ratio=sharpness_ratio(result_frames, result_faces, source_frame, source_face),
        tearing=tearing(result_frames, result_faces, source_frame, source_face, landmarker),
        reconstruction_l1=reconstruction_l1(result_frames, driver_frames) if same_clip else float("nan"),
        keypoint_error=keypoint_error(result_faces, driver_faces) if same_clip else float("nan"),
    )


def quality_table(rows: Iterable[ClipQuality]) -> list[Row]:
    """Return a row per action, in the paper's order, and one over all: clip count, median and n of every metric.

    Columns: action, clips, and for each of ``METRICS`` the median over clips where it is defined (NaN if there are
    none), and the number of these clips as ``<metric>_n``.
    """
    rows = list(rows)
    table = []
    for action in (*ACTIONS, ALL_ACTIONS):
        clips = [row for row in rows if action in (row.action, ALL_ACTIONS)]
        if clips:
            table.append({"action": action, "clips": len(clips), **_summary(clips)})
    return table


def _summary(clips: list[ClipQuality]) -> Row:
    summary: Row = {}
    for metric in METRICS:
        values = np.array([getattr(clip, metric) for clip in clips])
        values = values[np.isfinite(values)]
        summary[metric] = float(np.median(values)) if len(values) else float("nan")
        summary[f"{metric}_n"] = len(values)
    return summary


def _identity(source: np.ndarray, results: Frames, embedder: FaceEmbedder, others: np.ndarray) -> float:
    """Return identity_kept over evenly spaced frames; NaN when source or result shows no face."""
    source_embedding = embedder(source)
    if source_embedding is None:
        return float("nan")
    indices = np.linspace(0, len(results) - 1, min(len(results), _EMBEDDED_FRAMES))
    embeddings = [embedder(results[round(index)]) for index in indices]
    return identity_kept([found for found in embeddings if found is not None], source_embedding, others)
