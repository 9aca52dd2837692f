"""Pictures of a video's scores: annotated video, and heat maps of the most suspicious frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.heat_map import heat_maps, overlay_heat
from deepfakemnist.faces.policies import CropBox
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import COMMON_OUTPUT, DETERMINISTIC_X264
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.training.score_video import FaceTrack, ScoredSegment, VideoScore

#: Side of a frame in a sheet of heat maps, pixels.
_TILE = 256


def write_overlay(scored: VideoScore, fps: float, path: Path) -> None:
    """Write the video with the crop box and score of every face; a score is shown until the face's next one.

    Args:
        scored: scores of a video.
        fps: rate of the crop boxes, frames per second; the written video has it too.
        path: MP4 to write.
    """
    height, width = next(read_frames(scored.path)).shape[:2]
    height, width = height - height % 2, width - width % 2  # yuv420p needs even sides

    def annotated() -> Iterator[NDArray[np.uint8]]:
        parts = [(track, segment) for track in scored.tracks for segment in track.segments]
        for number, frame in enumerate(read_frames(scored.path, fps=fps)):
            for track, segment in parts:
                at = number - round(segment.from_s * fps)
                if 0 <= at < len(segment.boxes):
                    _annotate(frame, segment.boxes[at], track, _score_at(segment, number / fps))
            yield frame[:height, :width].copy()

    with atomic_path(path) as part:
        graph = frames_input(width, height, fps).output(
            absolute(part), vcodec="libx264", crf=20, pix_fmt="yuv420p", **DETERMINISTIC_X264, **COMMON_OUTPUT
        )
        run_graph(graph, find_ffmpeg(), annotated())


def write_heat_map(scored: VideoScore, detector: Detector, path: Path) -> None:
    """Write a PNG: the frames with the highest scores, in order of time, and below them the same with heat maps.

    Of a clip detector's sample, the middle frame is shown. See detectors.heat_map for the methods.
    """
    shown = sorted(scored.shown, key=lambda frame: frame[0])
    samples = torch.stack([sample for _, _, sample in shown])
    heat = heat_maps(detector, samples.to(detector.mean.device))
    pictures = samples if samples.ndim == 4 else samples[:, samples.shape[1] // 2]
    columns = []
    for (time, score, _), picture, frame_heat in zip(shown, pictures.permute(0, 2, 3, 1).numpy(), heat, strict=True):
        pair = np.vstack([picture, overlay_heat(picture, frame_heat)])
        column = np.asarray(cv2.resize(pair, (_TILE, 2 * _TILE)), np.uint8)
        _write_text(column, f"{time:.1f} s: {score:.2f}", (6, 20), 0.7)
        columns.append(column)
    _, encoded = cv2.imencode(".png", cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR))
    with atomic_path(path) as part:
        part.write_bytes(encoded.tobytes())


def _score_at(segment: ScoredSegment, time: float) -> float:
    """Return the score of the latest scored frame, or of the first one before it."""
    latest = int(np.searchsorted([frame.time_s for frame in segment.frames], time + 1e-6)) - 1
    return segment.frames[max(latest, 0)].score


def _annotate(frame: NDArray[np.uint8], box: CropBox, track: FaceTrack, score: float) -> None:
    """Draw a crop box, the number of its face and a score, from green for real to red for fake."""
    colour = (round(255 * score), round(255 * (1 - score)), 0)
    scale = max(0.5, frame.shape[0] / 480)
    corner = (box.left + box.width, box.top + box.height)
    cv2.rectangle(frame, (box.left, box.top), corner, colour, max(1, round(2 * scale)))
    position = (max(box.left, 0) + round(6 * scale), max(box.top, 0) + round(22 * scale))
    _write_text(frame, f"face {track.number}: {score:.2f}", position, scale, colour)


def _write_text(
    picture: NDArray[np.uint8],
    text: str,
    position: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int] = (255, 255, 255),
) -> None:
    thickness = max(1, round(2 * scale))
    for ink, width in (((0, 0, 0), thickness + 2), (colour, thickness)):
        cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, ink, width, cv2.LINE_AA)
