"""A trained detector on any video: the face is cut out as the training clips were cut, frames of it are scored."""

from __future__ import annotations

import hashlib
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

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.detectors.heat_map import heat_maps, over_picture
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.faces.crop import crop_video
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import COMMON_OUTPUT, SAME_EVERYWHERE
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph
from deepfakemnist.media.frames import evenly_spaced
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row
from deepfakemnist.training.checkpoint import Checkpoint

Picture = NDArray[np.uint8]

#: What a video without a face scores: nothing is known.
EVEN = 0.5
_BATCH_SIZE = 16
#: Gates that keep poor clips out of a dataset; somebody who asks about a video wants an answer all the same.
_LENIENT = {
    **{"min_face_px": 1.0, "min_face_fraction": 0.01, "max_interpolated": 1.0, "min_frames": 1},
    **{"max_padding": 1.0, "edge": "pad"},
}


@dataclass
class Judgement:
    """What a detector makes of a video.

    Args:
        path: the video.
        score: mean P(fake) of the frames; 0.5 where no face was found.
        reason: empty, or why there is no judgement: a reason of the crop stage, or of reading a video.
        detail: the message behind it.
        times: seconds in the video of the scored frames.
        scores: their P(fake).
        crop: columns of tables.CROPPED that say where the face is; empty without one.
        pictures: the scored frames, cut, (N, S, S, 3) uint8.
    """

    path: Path
    score: float = EVEN
    reason: str = ""
    detail: str = ""
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    crop: Row = field(default_factory=dict)
    pictures: Picture = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))


def judge_video(
    path: Path, checkpoint: Checkpoint, crop: CropSettings, frames: int, faces: FaceDetector, cropped: bool = False
) -> Judgement:
    """Score evenly spaced frames of a video.

    Args:
        path: video file.
        checkpoint: see training.checkpoint.
        crop: how training clips were cut; its quality gates do not count here.
        frames: how many are scored; every one where a clip has fewer.
        faces: finds them.
        cropped: the video is a square clip of a face already, and is taken as it is.

    Returns: a judgement; a video that cannot be read or shows no face has a reason and the score 0.5.
    """
    judged = Judgement(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    row: Row = {"video_id": "clip", "path": str(path), "sha256": sha256, "start_s": None, "end_s": None}
    with tempfile.TemporaryDirectory() as folder:
        try:
            settings = crop.model_copy(update=_LENIENT)
            judged.crop = crop_video({**row, "cropped": cropped, "boxes": None}, Path(folder), settings, faces)
            wanted = evenly_spaced(judged.crop["frames"], frames)
            clip = enumerate(read_frames(judged.crop["path"]))
            judged.pictures = np.stack([picture for number, picture in clip if number in set(wanted)])
        except (Rejected, Failed) as error:
            judged.reason, judged.detail = error.reason, error.detail
            return judged
    judged.times = [judged.crop["kept_from_s"] + number / crop.fps for number in wanted]
    judged.scores = _scores(checkpoint, judged.pictures)
    judged.score = float(np.mean(judged.scores))
    return judged


def write_overlay(judged: Judgement, crop: CropSettings, path: Path) -> None:
    """Write the video with the square and the score drawn in; between scored frames the last score stands."""
    height, width = next(read_frames(judged.path)).shape[:2]
    height, width = height - height % 2, width - width % 2  # yuv420p wants even sides

    def drawn() -> Iterator[Picture]:
        for number, frame in enumerate(read_frames(judged.path, fps=crop.fps)):
            place = int(np.searchsorted(judged.times, number / crop.fps + 1e-6)) - 1
            yield _draw(frame, judged.crop, judged.scores[max(place, 0)])[:height, :width].copy()

    with atomic_path(path) as part:
        graph = frames_input(width, height, crop.fps).output(
            absolute(part), vcodec="libx264", crf=20, pix_fmt="yuv420p", **SAME_EVERYWHERE, **COMMON_OUTPUT
        )
        run_graph(graph, find_ffmpeg(), drawn())


def write_heat_map(judged: Judgement, checkpoint: Checkpoint, path: Path, count: int = 4) -> None:
    """Write a picture: ``count`` scored frames above, with what speaks for fake laid over them below.

    Raises: ConfigError for a detector that has no heat map, see detectors.heat_map.
    """
    chosen = [judged.pictures[number] for number in evenly_spaced(len(judged.pictures), count)]
    side = checkpoint.detector.image_size
    small = [
        np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for picture in chosen
    ]
    heat = heat_maps(checkpoint.detector, _pixels(np.stack(chosen), checkpoint))
    below = [over_picture(picture, one) for picture, one in zip(small, heat, strict=True)]
    sheet = np.vstack([np.hstack(small), np.hstack(below)])
    with atomic_path(path) as part:
        if not cv2.imwrite(str(part), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise ConfigError(f"{path} cannot be written as a picture; a name ending in .png or .jpg is needed")


def _pixels(pictures: NDArray[np.uint8], checkpoint: Checkpoint) -> Tensor:
    """Return pictures (N, S, S, 3) as the detector takes them, resized as training frames are."""
    detector = checkpoint.detector
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).contiguous()
    if pixels.shape[-1] != detector.image_size:
        pixels = functional.resize(pixels, [detector.image_size] * 2, antialias=True)
    return pixels.to(detector.mean.device)


def _scores(checkpoint: Checkpoint, pictures: NDArray[np.uint8]) -> list[float]:
    pixels = _pixels(pictures, checkpoint)
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


def _draw(frame: Picture, crop: Row, score: float) -> Picture:
    """Return a frame with the square of the crop and the score, from green for real to red for fake."""
    drawn = np.ascontiguousarray(frame)
    colour = (round(255 * score), round(255 * (1 - score)), 0)
    scale = max(0.5, frame.shape[0] / 480)
    thick = max(1, round(2 * scale))
    left, top, side = (round(crop[name]) for name in ("box_left", "box_top", "box_side"))
    cv2.rectangle(drawn, (left, top), (left + side, top + side), colour, thick)
    place = (max(left, 0) + round(6 * scale), max(top, 0) + round(22 * scale))
    text = f"fake {score:.2f}"
    for ink, width in (((0, 0, 0), thick + 2), (colour, thick)):
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale, ink, width, cv2.LINE_AA)
    return drawn
