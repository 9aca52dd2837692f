"""Scoring of arbitrary videos: the face is cropped as in training, and evenly spaced frames go through a detector."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.detectors.heat_map import heat_maps, overlay_heat
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.faces.crop import crop_video
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import COMMON_OUTPUT, DETERMINISTIC_X264
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.media.frames import evenly_spaced
from deepfakemnist.media.limits import limited
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row
from deepfakemnist.training.checkpoint import Checkpoint

Frames = NDArray[np.uint8]

#: Score of a video without a face, about which nothing is known.
UNDECIDED = 0.5
_BATCH_SIZE = 16
#: The crop stage's quality gates keep poor clips out of a dataset; a user's video gets a score all the same.
_LENIENT = {
    "min_face_px": 1.0,
    "min_face_fraction": 0.01,
    "max_interpolated": 1.0,
    "min_frames": 1,
    "max_padding": 1.0,
    "edge": "pad",
}


@dataclass
class VideoScore:
    """Video-level and frame-level scores of a video, with the face crop they come from.

    Args:
        path: video file.
        score: mean P(fake) of the frames; 0.5 where no face was found.
        reason: empty, or why the video could not be scored: a reason of the crop stage, or of reading a video.
        detail: message behind the reason.
        times: timestamps of the scored frames, seconds.
        scores: their P(fake).
        crop: columns of tables.CROPPED with the face box; empty without a face.
        frames: the scored frames, cropped, (N, S, S, 3) uint8.
    """

    path: Path
    score: float = UNDECIDED
    reason: str = ""
    detail: str = ""
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    crop: Row = field(default_factory=dict)
    frames: Frames = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))


def score_video(
    path: Path, checkpoint: Checkpoint, crop: CropSettings, frames: int, faces: FaceDetector, cropped: bool = False
) -> VideoScore:
    """Score evenly spaced frames of a video.

    Args:
        path: video file.
        checkpoint: trained detector, see training.checkpoint.
        crop: crop settings of the training clips; their quality gates are ignored.
        frames: number of frames to score; all of them where the clip has fewer.
        faces: face detector.
        cropped: whether the video already is a square face crop, which is then used as it is.

    Returns: the scores; a video that cannot be read or shows no face has a reason and the score 0.5.
    """
    scored = VideoScore(path)
    sha256 = file_facts(path).sha256
    row: Row = {"video_id": "clip", "path": str(path), "sha256": sha256, "start_s": None, "end_s": None}
    with tempfile.TemporaryDirectory() as folder:
        try:
            settings = crop.model_copy(update=_LENIENT)
            with limited(MediaLimits(), path):
                scored.crop = crop_video({**row, "cropped": cropped, "boxes": None}, Path(folder), settings, faces)
            selected = evenly_spaced(scored.crop["frames"], frames)
            clip = enumerate(read_frames(scored.crop["path"]))
            scored.frames = np.stack([frame for number, frame in clip if number in set(selected)])
        except (Rejected, Failed) as error:
            scored.reason, scored.detail = error.reason, error.detail
            return scored
    scored.times = [scored.crop["kept_from_s"] + number / crop.fps for number in selected]
    scored.scores = _frame_scores(checkpoint, scored.frames)
    scored.score = float(np.mean(scored.scores))
    return scored


def write_overlay(scored: VideoScore, crop: CropSettings, path: Path) -> None:
    """Write the video with the crop box and the score; each score is shown until the next scored frame."""
    height, width = next(read_frames(scored.path)).shape[:2]
    height, width = height - height % 2, width - width % 2  # yuv420p needs even sides

    def annotated() -> Iterator[Frames]:
        for number, frame in enumerate(read_frames(scored.path, fps=crop.fps)):
            latest = int(np.searchsorted(scored.times, number / crop.fps + 1e-6)) - 1
            yield _annotate(frame, scored.crop, scored.scores[max(latest, 0)])[:height, :width].copy()

    with atomic_path(path) as part:
        graph = frames_input(width, height, crop.fps).output(
            absolute(part), vcodec="libx264", crf=20, pix_fmt="yuv420p", **DETERMINISTIC_X264, **COMMON_OUTPUT
        )
        run_graph(graph, find_ffmpeg(), annotated())


def write_heat_map(scored: VideoScore, checkpoint: Checkpoint, path: Path, count: int = 4) -> None:
    """Write an image: a row of ``count`` scored frames, and below them the same frames with Grad-CAM heat maps.

    Raises: ConfigError for a detector without heat maps, see detectors.heat_map.
    """
    selected = [scored.frames[number] for number in evenly_spaced(len(scored.frames), count)]
    side = checkpoint.detector.image_size
    small = [np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for frame in selected]
    heat = heat_maps(checkpoint.detector, _pixels(np.stack(selected), checkpoint))
    overlaid = [overlay_heat(frame, frame_heat) for frame, frame_heat in zip(small, heat, strict=True)]
    sheet = np.vstack([np.hstack(small), np.hstack(overlaid)])
    with atomic_path(path) as part:
        if not cv2.imwrite(str(part), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise ConfigError(f"{path} cannot be written as an image; use a name ending in .png or .jpg")


def _pixels(frames: Frames, checkpoint: Checkpoint) -> Tensor:
    """Return frames (N, S, S, 3) as detector input, resized as in training."""
    detector = checkpoint.detector
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).contiguous()
    if pixels.shape[-1] != detector.image_size:
        pixels = functional.resize(pixels, [detector.image_size] * 2, antialias=True)
    return pixels.to(detector.mean.device)


def _frame_scores(checkpoint: Checkpoint, frames: Frames) -> list[float]:
    pixels = _pixels(frames, checkpoint)
    length = checkpoint.detector.config.clip_frames
    if length > 1:
        count = len(pixels)
        first = torch.arange(count).sub(length // 2).clamp(0, max(count - length, 0))
        rows = (first[:, None] + torch.arange(length)).clamp(max=count - 1)
        pixels = pixels[rows]
    scores: list[float] = []
    with torch.inference_mode():
        for batch in pixels.split(_BATCH_SIZE):
            scores += torch.sigmoid(checkpoint.detector(batch).double()).tolist()
    return scores


def _annotate(frame: Frames, crop: Row, score: float) -> Frames:
    """Return a frame with the crop box and the score, from green for real to red for fake."""
    annotated = np.ascontiguousarray(frame)
    colour = (round(255 * score), round(255 * (1 - score)), 0)
    scale = max(0.5, frame.shape[0] / 480)
    thickness = max(1, round(2 * scale))
    left, top, side = (round(crop[name]) for name in ("box_left", "box_top", "box_side"))
    cv2.rectangle(annotated, (left, top), (left + side, top + side), colour, thickness)
    position = (max(left, 0) + round(6 * scale), max(top, 0) + round(22 * scale))
    text = f"fake {score:.2f}"
    for ink, width in (((0, 0, 0), thickness + 2), (colour, thickness)):
        cv2.putText(annotated, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, ink, width, cv2.LINE_AA)
    return annotated
