"""From a video of somebody talking to a square clip in which the face stays put.

One box serves the whole clip (but for the policy ff-1.3): a box that followed the face would turn head motion into
camera motion. Where the video is cut, the longest part with one person in it is kept; the row says what was not.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.footage import Footage, given_boxes, read_footage
from deepfakemnist.faces.policies import POLICIES, CropBox
from deepfakemnist.faces.quality import brightness, check_quality, interpolated_share, pose_ranges, sharpness
from deepfakemnist.faces.shots import Cut
from deepfakemnist.faces.track import Track
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import CROPPED, OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

log = logging.getLogger(__name__)


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
        ingested: table of videos (``tables.INGESTED``).
        table: table to write.
        folder: where the clips go, as ``<video_id>.mp4``, lossless.
        settings: size, rate, and what counts as a usable face.
        code: digest of this code.
        ffmpeg: program that later stages will use; None searches.
        max_failed_fraction: see :func:`deepfakemnist.tables.shards.run_shard`.

    Reasons beside those of reading a video: rejected with too_short, no_face, face_lost, face_too_small, off_frame,
    no_box, not_square, box_guessed, uncertain_face, turns_too_far, blurred, too_dark or too_bright; failed with
    source_changed.
    """
    find_ffmpeg(ffmpeg)  # the stages after this one encode with it: complain before the first video
    detector = FaceDetector(settings.min_score, settings.detect_max_side)
    work = partial(crop_video, folder=folder, settings=settings, detector=detector)
    rows = [row for row in read_rows(ingested) if row["status"] == OK]
    return run_shard(rows, table, CROPPED, work, code=code, settings=settings, max_failed_fraction=max_failed_fraction)


def crop_video(row: Row, folder: Path, settings: CropSettings, detector: FaceDetector) -> Row:
    """Cut one video; return the columns of ``tables.CROPPED`` that this gives.

    Raises: Rejected, Failed; see :func:`crop_shard`.
    """
    _check_unchanged(row)
    policy = policy_of(row, settings)
    footage = read_footage(row, settings, detector)
    cuts = footage.cuts() if settings.split_shots else []
    part, track = choose_part(footage, cuts)
    boxes = given_boxes(row, [frame / settings.fps for frame in part])
    if boxes is None:
        boxes = track.boxes(part)
    path_of_box = POLICIES[policy](boxes, footage.width, footage.height, settings)
    log.debug("%s: %s of a %dx%d picture", row["video_id"], path_of_box[0], footage.width, footage.height)

    looks = [look.frame for look in footage.looks if look.frame in part]
    start = row["start_s"] or 0.0
    found: Row = {
        "fps": settings.fps,
        "size": settings.size,
        **_box_columns(path_of_box, footage),
        "policy": policy,
        "kept_from_s": start + part.start / settings.fps,
        "kept_to_s": start + part.stop / settings.fps,
        "dropped_frames": footage.frames - len(part),
        "cuts": json.dumps([{"time_s": round(start + cut.frame / settings.fps, 3), "what": cut.what} for cut in cuts]),
        "face_px": track.side,
        "face_fraction": len(track.frames) / len(looks),
        "face_score": float(np.mean([face.score for face in track.faces])),
        "interpolated": interpolated_share(part, looks, track.frames),
        **pose_ranges(track.faces, footage.width, footage.height),
        "source_sha256": row["sha256"],
    }
    sharp: list[float] = []
    bright: list[float] = []

    def crops() -> Iterator[np.ndarray]:
        for number, crop in enumerate(cut_out(footage, part, path_of_box, settings.size)):
            if number % settings.detect_every == 0:
                sharp.append(sharpness(crop))
                bright.append(brightness(crop))
            yield crop

    path = folder / f"{row['video_id']}.mp4"
    clip = write_working_clip(path, crops(), settings.fps)
    found |= {"sharpness": float(np.median(sharp)), "brightness": float(np.mean(bright))}
    try:
        check_quality(found, settings)
    except Rejected:
        path.unlink()
        raise
    return {"path": str(path), "frames": clip.frames, "pixels_sha256": clip.pixels_sha256, **found}


def policy_of(row: Row, settings: CropSettings) -> str:
    """Return the policy of a row: the config's, but as-cropped for crops, and square-track for a driver without boxes.

    Raises: Rejected with reason no_box for a source without the box that the policy wants.
    """
    if row.get("cropped"):
        return "as-cropped"
    if settings.policy != "vox-metadata" or row.get("boxes"):
        return settings.policy
    if row["role"] == "driver":
        return "square-track"
    raise Rejected(
        "no_box", "crop.policy vox-metadata takes boxes that come with the videos, from vox_metadata or voxceleb1"
    )


def choose_part(footage: Footage, cuts: Sequence[Cut]) -> tuple[range, Track]:
    """Return the longest part between cuts that shows one face well enough, and the track of that face.

    Raises: Rejected with reason too_short, or with what is wrong with the longest part.
    """
    settings = footage.settings
    edges = [0, *(cut.frame for cut in cuts), footage.frames]
    parts = sorted((range(*pair) for pair in pairwise(edges)), key=lambda part: (-len(part), part.start))
    if len(parts[0]) < settings.min_frames:
        among = f", the longest of {len(parts)} parts between cuts" if cuts else ""
        raise Rejected(
            "too_short",
            f"{len(parts[0])} frames at {settings.fps:g} fps{among}; at least {settings.min_frames} are needed",
        )
    first: Rejected | None = None
    for part in parts:
        if len(part) < settings.min_frames:
            break
        try:
            return part, footage.track_in(part)
        except Rejected as verdict:
            first = first or verdict
    assert first is not None
    raise first


def cut_out(footage: Footage, part: range, boxes: Sequence[CropBox], size: int) -> Iterator[np.ndarray]:
    """Yield the crops of a part, one per frame."""
    begin = 0
    for picture, times in footage.pictures(part, boxes):
        wanted = range(max(begin, part.start), min(begin + times, part.stop))
        crop: np.ndarray | None = None
        for frame in wanted:
            box = boxes[frame - part.start]
            if crop is None or box != boxes[frame - part.start - 1]:
                crop = box.cut(picture, size)
            yield crop
        begin += times
        if begin >= part.stop:
            return


def _box_columns(boxes: Sequence[CropBox], footage: Footage) -> Row:
    """Return the columns that tell the box; the median one where it follows the face."""
    left, top, width, height = np.median([(box.left, box.top, box.width, box.height) for box in boxes], axis=0)
    padded = float(np.mean([box.outside(footage.width, footage.height) for box in boxes]))
    names = ("box_left", "box_top", "box_width", "box_height", "box_side", "padded")
    return dict(zip(names, map(float, (left, top, width, height, max(width, height), padded)), strict=True))


def _check_unchanged(row: Row) -> None:
    path = Path(row["path"])
    if not path.is_file():
        return  # reading it says so
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != row["sha256"]:
        raise Failed("source_changed", f"{path}: sha256 is {found}, was {row['sha256']} when ingested; ingest it again")
