"""From a video of somebody talking to a square clip in which the face stays put.

One box serves the whole clip: a box that followed the face would turn head motion into camera motion. The video is
decoded twice, once to find the box and once to cut it, because 1024 frames of 1080p are 6 GB and the box is known
only after the last look.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.faces.detect import Face, FaceDetector
from deepfakemnist.faces.track import Track, main_track, track_faces
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.settings import CropSettings
from deepfakemnist.shards import Tally, run_shard
from deepfakemnist.tables import CROPPED, OK, Row, read_rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropBox:
    """A square in upright source pixels; it may reach outside the picture."""

    left: int
    top: int
    side: int

    def outside(self, width: int, height: int) -> float:
        """Return the share of the square, 0..1, that lies outside a picture of the given size."""
        across = max(0, min(self.left + self.side, width) - max(self.left, 0))
        down = max(0, min(self.top + self.side, height) - max(self.top, 0))
        return 1 - across * down / self.side**2

    def shifted_inside(self, width: int, height: int) -> CropBox:
        """Return the square moved just far enough to lie in the picture, or centred on it where it is too large."""
        left = min(max(self.left, 0), width - self.side) if self.side <= width else (width - self.side) // 2
        top = min(max(self.top, 0), height - self.side) if self.side <= height else (height - self.side) // 2
        return CropBox(left, top, self.side)


def crop_shard(
    ingested: Path,
    table: Path,
    folder: Path,
    *,
    settings: CropSettings,
    code: str,
    ffmpeg: str | None = None,
    max_failed_fraction: float = 1.0,
) -> Tally:
    """Cut the face clip of every usable row of ``ingested`` and write ``table`` (``tables.CROPPED``).

    Args:
        ingested: table of videos with path, start_s and end_s.
        table: table to write.
        folder: where the clips go, as ``<video_id>.mp4``, lossless.
        settings: size, rate, and what counts as a usable face.
        code: digest of this code.
        ffmpeg: program to use; None searches.
        max_failed_fraction: see :func:`deepfakemnist.shards.run_shard`.

    Reasons beside those of reading a video: rejected with too_short, no_face, face_lost, face_too_small, off_frame;
    failed with source_changed.
    """
    find_ffmpeg(ffmpeg)  # complain before the first video
    detector = FaceDetector(settings.min_score, settings.detect_max_side)
    work = partial(crop_video, folder=folder, settings=settings, detector=detector, ffmpeg=ffmpeg)
    rows = [row for row in read_rows(ingested) if row["status"] == OK]
    return run_shard(rows, table, CROPPED, work, code=code, settings=settings, max_failed_fraction=max_failed_fraction)


def crop_video(
    row: Row, folder: Path, settings: CropSettings, detector: FaceDetector, ffmpeg: str | None = None
) -> Row:
    """Cut one video; return the columns of ``tables.CROPPED`` that this gives.

    Raises: Rejected, Failed; see :func:`crop_shard`.
    """
    _check_unchanged(row)
    looks: list[tuple[int, list[Face]]] = []
    total, height, width = 0, 0, 0
    for total, frame in enumerate(_frames(row, settings), start=1):
        height, width = frame.shape[:2]
        if (total - 1) % settings.detect_every == 0:
            looks.append((total - 1, detector(frame)))
    if total < settings.min_frames:
        raise Rejected(
            "too_short", f"{total} frames at {settings.fps:g} fps; at least {settings.min_frames} are needed"
        )
    track = usable_track(looks, settings)
    box = crop_box(track.boxes(range(total)), width, height, settings)
    log.debug("%s: %s of a %dx%d picture", row["video_id"], box, width, height)

    sharpness: list[float] = []
    brightness: list[float] = []

    def crops() -> Iterator[np.ndarray]:
        for number, frame in enumerate(_frames(row, settings)):
            crop = crop_frame(frame, box, settings.size)
            if number % settings.detect_every == 0:
                luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
                sharpness.append(float(cv2.Laplacian(luma, cv2.CV_64F).var()))
                brightness.append(float(luma.mean()))
            yield crop

    path = folder / f"{row['video_id']}.mp4"
    clip = write_working_clip(path, crops(), settings.fps, ffmpeg=ffmpeg)
    return {
        "path": str(path),
        "frames": clip.frames,
        "fps": settings.fps,
        "size": settings.size,
        "box_left": float(box.left),
        "box_top": float(box.top),
        "box_side": float(box.side),
        "face_px": track.side,
        "face_fraction": len(track.frames) / len(looks),
        "face_score": float(np.mean([face.score for face in track.faces])),
        "sharpness": float(np.median(sharpness)),
        "brightness": float(np.mean(brightness)),
        "source_sha256": row["sha256"],
        "pixels_sha256": clip.pixels_sha256,
    }


def usable_track(looks: list[tuple[int, list[Face]]], settings: CropSettings) -> Track:
    """Return the track of the clip's main face.

    Args:
        looks: frame number and faces of every looked-at frame.
        settings: min_iou, min_face_fraction and min_face_px count.

    Raises: Rejected with reason no_face, face_lost or face_too_small.
    """
    track = main_track(track_faces(looks, settings.min_iou))
    if track is None:
        raise Rejected("no_face", f"no face of score {settings.min_score:g} or more in {len(looks)} looked-at frames")
    share = len(track.frames) / len(looks)
    if share < settings.min_face_fraction:
        raise Rejected(
            "face_lost",
            f"the face is in {share:.0%} of {len(looks)} looked-at frames; at least {settings.min_face_fraction:.0%} "
            "are needed",
        )
    if track.side < settings.min_face_px:
        raise Rejected(
            "face_too_small", f"median side {track.side:.0f} px; at least {settings.min_face_px:g} are needed"
        )
    return track


def crop_box(boxes: np.ndarray, width: int, height: int, settings: CropSettings) -> CropBox:
    """Return the one square that holds every face box of a clip with room around.

    The square is the union of the boxes, made square by its longer side and grown by ``margin`` of it on every side.
    It is no larger than the picture's shorter side as long as the union fits, and moved inside the picture: a face off
    the centre looks better than a picture that ends before the crop does. What is still outside is padded.

    Args:
        boxes: (N,4) left, top, width, height in pixels of the picture.
        width, height: size of the picture.
        settings: margin and max_padding count.

    Raises: Rejected with reason off_frame when more than max_padding of the square would be padding.
    """
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    union = max(1, math.ceil(max(right - left, bottom - top)))
    side = min(round(union * (1 + 2 * settings.margin)), max(union, min(width, height)))
    centred = CropBox(round((left + right - side) / 2), round((top + bottom - side) / 2), side)
    box = centred.shifted_inside(width, height)
    if box.outside(width, height) > settings.max_padding:
        raise Rejected(
            "off_frame",
            f"{box.outside(width, height):.0%} of the crop would lie outside the {width}x{height} picture; "
            f"allowed are {settings.max_padding:.0%}",
        )
    return box


def crop_frame(frame: np.ndarray, box: CropBox, size: int) -> np.ndarray:
    """Return the square of an (H,W,3) uint8 frame, resized to (size,size,3); outside the picture its edge goes on."""
    height, width = frame.shape[:2]
    right, bottom = box.left + box.side, box.top + box.side
    inside = frame[max(box.top, 0) : max(bottom, 0), max(box.left, 0) : max(right, 0)]
    padding = (max(-box.top, 0), max(bottom - height, 0), max(-box.left, 0), max(right - width, 0))
    if any(padding):
        inside = cv2.copyMakeBorder(inside, *padding, cv2.BORDER_REPLICATE)
    if box.side == size:
        return np.ascontiguousarray(inside)
    method = cv2.INTER_AREA if box.side > size else cv2.INTER_CUBIC
    return cv2.resize(inside, (size, size), interpolation=method)


def _frames(row: Row, settings: CropSettings) -> Iterator[np.ndarray]:
    frames = read_frames(row["path"], fps=settings.fps, start_s=row["start_s"], end_s=row["end_s"])
    return islice(frames, settings.max_frames)


def _check_unchanged(row: Row) -> None:
    path = Path(row["path"])
    if not path.is_file():
        return  # reading it says so
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != row["sha256"]:
        raise Failed("source_changed", f"{path}: sha256 is {found}, was {row['sha256']} when ingested; ingest it again")
