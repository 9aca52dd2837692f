"""Crop stage: face detection, tracking and square cropping of talking-head video.

The crop box is fixed for the whole clip (except with the policy ff-1.3): a box that followed the face would turn head
motion into camera motion. Of a video with cuts, the longest shot of one person is kept; the row records what was
dropped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.footage import Footage, annotated_boxes, read_footage
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.faces.motion import face_patch, nonrigid_motion, sampling_step
from deepfakemnist.faces.policies import POLICIES, CropBox
from deepfakemnist.faces.quality import (
    brightness,
    check_quality,
    interpolated_fraction,
    other_faces,
    pose_ranges,
    sharpness,
)
from deepfakemnist.faces.shots import Cut
from deepfakemnist.faces.source_frame import best_frame_columns, candidate_frames
from deepfakemnist.faces.track import Track
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import CROPPED, INGESTED, OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

log = logging.getLogger(__name__)

#: Columns of an ingested video that say nothing about its picture; the file is known by its sha256.
_BESIDE_THE_PICTURE = ("path", "person_id", "action", "adapter")


def crop_shard(
    ingested: Path,
    table: Path,
    folder: Path,
    *,
    settings: CropSettings,
    code: str,
    ffmpeg: str | None = None,
    max_failed_fraction: float = 1.0,
    used_frames: int | None = None,
) -> Tally:
    """Crop every usable video of ``ingested`` to a face clip and write ``table`` (``tables.CROPPED``).

    Args:
        ingested: table of videos (``tables.INGESTED``).
        table: table to write.
        folder: where the clips go, as ``<video_id>.mp4``, lossless.
        settings: size, frame rate and the thresholds for a usable face.
        code: digest of this code.
        ffmpeg: program that later stages use; None searches for one.
        max_failed_fraction: see :func:`deepfakemnist.tables.shards.run_shard`.
        used_frames: frames of a source that later stages use; a source is read until a shot has as many. None: all.

    Reasons besides those of :mod:`deepfakemnist.media.container`: rejected with too_short, upside_down, sideways,
    no_face, face_lost, face_too_small, off_frame, no_box, not_square, box_guessed, several_faces, uncertain_face,
    turns_too_far, blurred, still_face, too_dark or too_bright; failed with source_changed.
    """
    find_ffmpeg(ffmpeg)  # later stages encode with it: fail before the first video
    detector = FaceDetector(settings.min_score, settings.detect_max_side)
    rows = [row for row in read_rows(ingested) if row["status"] == OK]
    landmarker = FaceLandmarker(detector=detector) if any(row["role"] == "source" for row in rows) else None
    work = partial(crop_video, folder=folder, settings=settings, detector=detector, landmarker=landmarker)

    def crop(row: Row) -> Row:
        return work(row, enough=used_frames if row["role"] == "source" else None)  # all motion of drivers is used

    return run_shard(
        rows,
        table,
        CROPPED,
        crop,
        code=code,
        settings=settings,
        inputs="" if used_frames is None else str(used_frames),
        depends_on=[name for name in INGESTED.names if name not in _BESIDE_THE_PICTURE],
        max_failed_fraction=max_failed_fraction,
    )


def crop_video(
    row: Row,
    folder: Path,
    settings: CropSettings,
    detector: FaceDetector,
    landmarker: FaceLandmarker | None = None,
    enough: int | None = None,
) -> Row:
    """Crop one video; return its columns of ``tables.CROPPED``.

    Args:
        row: of ``tables.INGESTED``.
        folder: where the clip goes, as ``<video_id>.mp4``.
        settings: of the crop.
        detector: of faces.
        landmarker: for the best frame of a source; None leaves those columns empty.
        enough: frames that are used; see :func:`choose_shot`.

    Raises: Rejected, Failed; see :func:`crop_shard`.
    """
    _check_unchanged(row)
    policy = policy_of(row, settings)
    footage = read_footage(row, settings, detector, enough=enough)
    shot, track, cuts = choose_shot(footage, enough)
    boxes = annotated_boxes(row, [frame / settings.fps for frame in shot])
    if boxes is None:
        boxes = track.boxes(shot)
    crop_boxes = POLICIES[policy](boxes, footage.width, footage.height, settings)
    log.debug("%s: %s of a %dx%d picture", row["video_id"], crop_boxes[0], footage.width, footage.height)

    detections = [detection for detection in footage.detections if detection.frame in shot]
    sampled = [detection.frame for detection in detections]
    start = row["start_s"] or 0.0
    found: Row = {
        "fps": settings.fps,
        "size": settings.size,
        **_box_columns(crop_boxes, footage),
        "policy": policy,
        "kept_from_s": start + shot.start / settings.fps,
        "kept_to_s": start + shot.stop / settings.fps,
        "dropped_frames": footage.frames - len(shot),
        "cuts": json.dumps([{"time_s": round(start + cut.frame / settings.fps, 3), "what": cut.kind} for cut in cuts]),
        "face_px": track.side,
        "face_fraction": len(track.frames) / len(sampled),
        "other_faces": other_faces([detection.faces for detection in detections], track.side),
        "face_score": float(np.mean([face.score for face in track.faces])),
        "interpolated": interpolated_fraction(shot, sampled, track.frames),
        **pose_ranges(track.faces, footage.width, footage.height),
        "source_sha256": row["sha256"],
    }
    sharp: list[float] = []
    bright: list[float] = []
    patches: list[np.ndarray] = []
    face_boxes = track.boxes(shot)
    if landmarker is not None and row["role"] != "source":
        landmarker = None
    candidates = candidate_frames(track.frames, shot, footage.frames, settings.fps) if landmarker else []
    pictures: dict[int, np.ndarray] = {}

    def crops() -> Iterator[np.ndarray]:
        for number, crop in enumerate(crop_frames(footage, shot, crop_boxes, settings.size)):
            if number % settings.detect_every == 0:
                sharp.append(sharpness(crop))
                bright.append(brightness(crop))
            if number % sampling_step(settings.fps) == 0:
                patches.append(face_patch(crop, crop_boxes[number].in_crop(face_boxes[number], settings.size)))
            if number + shot.start in candidates:
                pictures[number] = crop
            yield crop

    path = folder / f"{row['video_id']}.mp4"
    clip = write_working_clip(path, crops(), settings.fps, [frame - shot.start for frame in candidates])
    found |= {"sharpness": float(np.median(sharp)), "brightness": float(np.mean(bright))}
    found["face_motion"] = nonrigid_motion(patches)
    try:
        check_quality(found, settings)
    except Rejected:
        path.unlink()
        raise
    if landmarker:
        face_of = dict(zip(track.frames, track.faces, strict=True))
        faces = {
            number: crop_boxes[number].face_in_crop(face_of[number + shot.start], settings.size) for number in pictures
        }
        found |= best_frame_columns(pictures, faces, landmarker)
    return {**clip.columns(), **found}


def policy_of(row: Row, settings: CropSettings) -> str:
    """Return a row's policy: the config's, except as-cropped for crops and square-track for drivers without boxes.

    Raises: Rejected with reason no_box for a source without the box that the policy needs.
    """
    if row.get("cropped"):
        return "as-cropped"
    if settings.policy != "vox-metadata" or row.get("boxes"):
        return settings.policy
    if row["role"] == "driver":
        return "square-track"
    raise Rejected(
        "no_box", "crop.policy vox-metadata needs the annotated boxes of sources.vox_metadata or sources.voxceleb1"
    )


def choose_shot(footage: Footage, enough: int | None = None) -> tuple[range, Track, list[Cut]]:
    """Return the longest shot with one usable face, the track of that face, and all cuts.

    Args:
        footage: of the video.
        enough: frames that are used; of shots with as many, the first is taken, and cut to them. None uses all.

    Raises: Rejected with reason too_short, or with the reason that rules out the longest shot.
    """
    settings = footage.settings
    shots, cuts = footage.shots(enough)
    if len(shots[0]) < settings.min_frames:
        among = f" in the longest of {len(shots)} shots" if cuts else ""
        raise Rejected(
            "too_short",
            f"{len(shots[0])} frames at {settings.fps:g} fps{among}; at least {settings.min_frames} are required",
        )
    first: Rejected | None = None
    for shot in shots:
        if len(shot) < settings.min_frames:
            break
        try:
            return shot, footage.track_in(shot), cuts
        except Rejected as rejection:
            first = first or rejection
    assert first is not None
    raise first


def crop_frames(footage: Footage, shot: range, boxes: Sequence[CropBox], size: int) -> Iterator[np.ndarray]:
    """Yield the crops of a shot, one per frame."""
    begin = 0
    for picture, repeats in footage.pictures(shot, boxes):
        wanted = range(max(begin, shot.start), min(begin + repeats, shot.stop))
        crop: np.ndarray | None = None
        for frame in wanted:
            box = boxes[frame - shot.start]
            if crop is None or box != boxes[frame - shot.start - 1]:
                crop = box.crop(picture, size)
            yield crop
        begin += repeats
        if begin >= shot.stop:
            return


def _box_columns(boxes: Sequence[CropBox], footage: Footage) -> Row:
    """Return the columns that describe the crop box; its median where it follows the face."""
    left, top, width, height = np.median([(box.left, box.top, box.width, box.height) for box in boxes], axis=0)
    padded = float(np.mean([box.outside(footage.width, footage.height) for box in boxes]))
    names = ("box_left", "box_top", "box_width", "box_height", "box_side", "padded")
    return dict(zip(names, map(float, (left, top, width, height, max(width, height), padded)), strict=True))


def _check_unchanged(row: Row) -> None:
    path = Path(row["path"])
    if not path.is_file():
        return  # reported when it is read
    found = file_facts(path).sha256
    if found != row["sha256"]:
        raise Failed("source_changed", f"{path}: sha256 is {found}, was {row['sha256']} at ingest; ingest it again")
