"""Judge an animation: does it show the action, keep the person, stay sharp? One row per fake, one table per set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from deepfakemnist.animation_quality.motion import action_direction, action_transfer, measure_action
from deepfakemnist.animation_quality.pictures import (
    Frames,
    identity_kept,
    keypoint_error,
    reconstruction_l1,
    sharpness_ratio,
)
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.tables.schemas import Row

#: Evenly spaced frames of a result that are embedded; an embedding costs as much as ten frames' landmarks.
_EMBEDDED_FRAMES = 4
#: Name of the last row of ``judge_table``.
ALL_ACTIONS = "all"


@dataclass(frozen=True)
class JudgedClip:
    """What was measured of one fake; NaN where nothing can be said."""

    action: str
    #: Share of the looked-at result frames that show a face, 0..1.
    face_share: float
    #: Amplitude of the action over the driver's, along the driver's curve: 1 the same, 0 none. See action_transfer.
    transfer: float
    #: Correlation of result and driver in the action's signals, -1..1.
    correlation: float
    #: How much of the result's motion goes the action's way, -1..1. See action_direction.
    direction: float
    #: 1 the source person, 0 nobody in particular. See identity_kept.
    identity_kept: float
    #: Sharpness of the face over that of the source frame.
    sharpness_ratio: float
    #: Only where the driver is the source's own clip: mean absolute pixel error, 0..1, and mean landmark error in
    #: distances between the outer eye corners.
    reconstruction_l1: float = float("nan")
    keypoint_error: float = float("nan")


METRICS = tuple(field.name for field in fields(JudgedClip) if field.name != "action")


def judge_clip(
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
) -> JudgedClip:
    """Judge one animation; a missing face never raises.

    Args:
        source_frame: (H, W, 3) uint8 RGB, the picture that was animated.
        driver_frames, result_frames: (T, H, W, 3) uint8 RGB each, frame by frame in step.
        action: what the driver performs.
        landmarker, embedder: the networks to use.
        others: (N, 128) embeddings of other people than the source; without any, identity_kept is NaN.
        every: look at every n-th frame. A blink lasts two to ten frames at 25 per second: leave it at 1 for blinks.
        same_clip: the driver is the source's own clip, so that its frames are the truth.

    Raises:
        ConfigError: unknown action.
        ValueError: driver and result of different lengths.
    """
    if len(driver_frames) != len(result_frames):
        raise ValueError(
            f"driver and result must be in step, but have {len(driver_frames)} and {len(result_frames)} frames"
        )
    driver_frames, result_frames = driver_frames[::every], result_frames[::every]
    driver_faces, result_faces = landmarker.track(driver_frames), landmarker.track(result_frames)
    result_signals = measure_action(result_faces)
    moved = action_transfer(action, measure_action(driver_faces), result_signals)
    return JudgedClip(
        action=action,
        face_share=float(np.mean([face is not None for face in result_faces])) if len(result_faces) else float("nan"),
        transfer=moved.slope,
        correlation=moved.correlation,
        direction=action_direction(action, result_signals),
        identity_kept=_identity(source_frame, result_frames, embedder, others),
        sharpness_ratio=sharpness_ratio(result_frames, result_faces, source_frame, landmarker(source_frame)),
        reconstruction_l1=reconstruction_l1(result_frames, driver_frames) if same_clip else float("nan"),
        keypoint_error=keypoint_error(result_faces, driver_faces) if same_clip else float("nan"),
    )


def judge_table(rows: Iterable[JudgedClip]) -> list[Row]:
    """Return a row per action, in the paper's order, and one for all: clips, and median and n of every metric.

    Columns: action, clips, and for each of ``METRICS`` its name (the median over clips where it could be measured, NaN
    where there are none) and its name with ``_n`` (how many those are).
    """
    rows = list(rows)
    table = []
    for action in (*ACTIONS, ALL_ACTIONS):
        clips = [row for row in rows if action in (row.action, ALL_ACTIONS)]
        if clips:
            table.append({"action": action, "clips": len(clips), **_summary(clips)})
    return table


def _summary(clips: list[JudgedClip]) -> Row:
    summary: Row = {}
    for metric in METRICS:
        values = np.array([getattr(clip, metric) for clip in clips])
        values = values[np.isfinite(values)]
        summary[metric] = float(np.median(values)) if len(values) else float("nan")
        summary[f"{metric}_n"] = len(values)
    return summary


def _identity(source: np.ndarray, results: Frames, embedder: FaceEmbedder, others: np.ndarray) -> float:
    """Identity kept over evenly spaced frames; NaN when source or result shows no face."""
    of_source = embedder(source)
    if of_source is None:
        return float("nan")
    evenly = np.linspace(0, len(results) - 1, min(len(results), _EMBEDDED_FRAMES))
    embeddings = [embedder(results[round(index)]) for index in evenly]
    return identity_kept([found for found in embeddings if found is not None], of_source, others)
