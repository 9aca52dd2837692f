"""Single-pass video analysis for cropping: buffered frames, face detections and frame differences.

The crop box is known only after the last detection, so frames wait in memory in their stored format, and of large ones
only the region around the faces detected so far. A video that does not fit (30 seconds of whole 720p frames do), or
whose crop leaves that region, is decoded a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil

import numpy as np

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.detect import Face, FaceDetector
from deepfakemnist.faces.policies import CropBox
from deepfakemnist.faces.shots import Cut, face_patch, find_cuts, frame_difference, thumbnail
from deepfakemnist.faces.track import Track, main_track, track_faces
from deepfakemnist.faces.upright import check_upright, is_checked, turned_scores
from deepfakemnist.media.decode import read_pictures
from deepfakemnist.media.picture import Picture, free_buffers
from deepfakemnist.tables.schemas import Row

#: Memory for buffered frames of one video.
_BUFFER_BYTES = 1 << 30
#: Frames after a shot that show that it holds no cut: as many as a cut is compared with, and a detection.
_LOOK_AHEAD = 25


@dataclass(frozen=True, eq=False)
class FrameFaces:
    """The faces detected in one frame."""

    frame: int
    faces: list[Face]
    patches: list[np.ndarray]  # of each face, see shots.face_patch


@dataclass
class Footage:
    """The wanted segment of a video at the clip's rate; frames count from 0."""

    row: Row
    settings: CropSettings
    frames: int = 0
    width: int = 0
    height: int = 0
    detections: list[FrameFaces] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    turns: dict[int, np.ndarray] = field(default_factory=dict)  # frame → upright.turned_scores
    _kept: list[tuple[Picture, int]] | None = None

    def pictures(self, shot: range, boxes: Sequence[CropBox]) -> Iterator[tuple[Picture, int]]:
        """Yield each picture with the number of frames it represents; their sum is ``frames``.

        Args:
            shot: frames to be cropped.
            boxes: crop box of each of them.
        """
        if self._kept is not None and _all_held(self._kept, shot, boxes):
            yield from self._kept
        else:
            yield from _read(self.row, self.settings)

    def release(self) -> None:
        """Free the buffered frames; who asks for pictures later has them decoded again."""
        self._kept = None

    def cuts(self) -> list[Cut]:
        """Return the frames at which another shot or person begins."""
        detections = [(detection.frame, detection.faces) for detection in self.detections]
        tracks = track_faces(detections, self.settings.min_iou)
        # With two people in a frame, compare the one with the longer track.
        longest: dict[int, tuple[int, Face]] = {}
        for track in tracks:
            for frame, face in zip(track.frames, track.faces, strict=True):
                if len(track.frames) > longest.get(frame, (0, face))[0]:
                    longest[frame] = (len(track.frames), face)
        patches = [
            detection.patches[next(i for i, face in enumerate(detection.faces) if face is longest[detection.frame][1])]
            for detection in self.detections
            if detection.faces
        ]
        face_frames = [detection.frame for detection in self.detections if detection.faces]
        return find_cuts(self.differences, face_frames, patches)

    def shots(self, enough: int | None = None) -> tuple[list[range], list[Cut]]:
        """Return the shots, longest first and then in order, and the cuts between them.

        Args:
            enough: frames of a shot that are used; longer ones are cut to them.
        """
        cuts = self.cuts() if self.settings.split_shots else []
        edges = [0, *(cut.frame for cut in cuts), self.frames]
        shots = [range(start, min(stop, start + (enough or stop))) for start, stop in pairwise(edges)]
        return sorted(shots, key=lambda shot: (-len(shot), shot.start)), cuts

    def has(self, enough: int) -> bool:
        """Return whether a shot of so many frames with a usable face was read, with a look ahead."""
        for shot in self.shots(enough)[0]:
            if len(shot) < enough or shot.stop + _LOOK_AHEAD > self.frames:
                return False
            with suppress(Rejected):
                self.track_in(shot)
                return True
        return False

    def track_in(self, shot: range) -> Track:
        """Return the track of the main face in a shot.

        Raises: Rejected with upside_down, sideways, no_face, face_lost or face_too_small.
        """
        turns = {frame: scores for frame, scores in self.turns.items() if frame in shot} or self.turns
        check_upright(list(turns.values()))
        detections = [(found.frame, found.faces) for found in self.detections if found.frame in shot]
        return usable_track(detections, self.settings)


def read_footage(
    row: Row,
    settings: CropSettings,
    detector: FaceDetector,
    pictures: Iterable[tuple[Picture, int]] | None = None,
    enough: int | None = None,
) -> Footage:
    """Read the segment of an INGESTED row. With annotated boxes, only faces inside them count.

    Args:
        row: of INGESTED.
        settings: of the crop.
        detector: of faces.
        pictures: the segment, where the caller decodes it: pictures and the number of frames each represents.
        enough: stop reading at a shot of so many frames with a usable face; None reads the segment.

    Raises: Failed or Rejected with a reason of :mod:`deepfakemnist.media.container`, or not_square.
    """
    free_buffers()  # those of the footage before, once they are large
    footage, kept, stored = Footage(row, settings), list[tuple[Picture, int]](), 0
    last: np.ndarray | None = None
    region = _KeptRegion(row, settings)
    checked = enough or 0
    for picture, repeats in _read(row, settings) if pictures is None else pictures:
        footage.width, footage.height = picture.width, picture.height
        now = thumbnail(picture.grey())
        footage.differences += [0.0 if last is None else frame_difference(last, now), *[0.0] * (repeats - 1)]
        last = now
        first = -(-footage.frames // settings.detect_every) * settings.detect_every
        if first < footage.frames + repeats:  # a sampled frame
            faces, small = detector.detect_in(picture)
            if not row.get("boxes") and is_checked(len(footage.detections)):  # who draws a box sees an upright face
                footage.turns[first] = turned_scores(detector, small, faces)
            faces = _inside_annotation(faces, row, first / settings.fps)
            region.add([face.box for face in faces])
            scale = np.array([small.shape[1] / picture.width, small.shape[0] / picture.height])
            patches = [face_patch(small, face.landmarks * scale) for face in faces]
            footage.detections += [
                FrameFaces(frame, faces, patches)
                for frame in range(first, footage.frames + repeats, settings.detect_every)
            ]
        footage.frames += repeats
        picture = region.of(picture)
        stored += picture.nbytes
        if stored <= _BUFFER_BYTES:
            kept.append((picture, repeats))
        else:
            kept.clear()
        if enough and footage.frames >= checked + _LOOK_AHEAD:
            checked = footage.frames
            if footage.has(enough):
                break
    footage._kept = kept if stored <= _BUFFER_BYTES else None
    return footage


def annotated_boxes(row: Row, times: Sequence[float]) -> np.ndarray | None:
    """Return a row's annotated boxes, linearly interpolated, or None when it has none.

    Args:
        row: of INGESTED.
        times: seconds into its segment.

    Returns: (len(times),4) float64 left, top, width, height in pixels.
    """
    if not row.get("boxes"):
        return None
    known = np.array(row["boxes"])
    clock = (row["start_s"] or 0.0) + np.asarray(times)
    return np.stack([np.interp(clock, known[:, 0], known[:, side]) for side in range(1, 5)], axis=1)


def usable_track(detections: list[tuple[int, list[Face]]], settings: CropSettings) -> Track:
    """Return the track of the clip's main face.

    Args:
        detections: frame number and faces of every sampled frame.
        settings: min_iou, min_face_fraction and min_face_px are used.

    Raises: Rejected with reason no_face, face_lost or face_too_small.
    """
    track = main_track(track_faces(detections, settings.min_iou))
    if track is None:
        raise Rejected(
            "no_face", f"no face of score {settings.min_score:g} or more in {len(detections)} sampled frames"
        )
    fraction = len(track.frames) / len(detections)
    if fraction < settings.min_face_fraction:
        raise Rejected(
            "face_lost",
            f"face found in {fraction:.0%} of {len(detections)} sampled frames; at least "
            f"{settings.min_face_fraction:.0%} are required",
        )
    if track.side < settings.min_face_px:
        raise Rejected(
            "face_too_small", f"median side {track.side:.0f} px; at least {settings.min_face_px:g} are required"
        )
    return track


class _KeptRegion:
    """The region that the crop will probably need, estimated from the boxes known so far."""

    def __init__(self, row: Row, settings: CropSettings) -> None:
        self._settings = settings
        self._whole = bool(row.get("cropped"))
        self._union: tuple[float, float, float, float] | None = None  # left, top, right, bottom
        self.add([tuple(box[1:5]) for box in row.get("boxes") or ()])

    def add(self, boxes: Sequence[tuple[float, ...]]) -> None:
        """Add boxes: left, top, width, height."""
        for left, top, width, height in boxes:
            known = self._union or (left, top, left, top)
            self._union = (
                min(known[0], left),
                min(known[1], top),
                max(known[2], left + width),
                max(known[3], top + height),
            )

    def of(self, picture: Picture) -> Picture:
        """Return a picture that keeps only pixels within one crop side of the boxes' centre."""
        if self._whole or self._union is None:
            return picture
        left, top, right, bottom = self._union
        side = ceil(max(right - left, bottom - top) * (1 + 2 * self._settings.margin))
        return picture.near(round((left + right) / 2) - side, round((top + bottom) / 2) - side, 2 * side, 2 * side)


def _all_held(kept: Sequence[tuple[Picture, int]], shot: range, boxes: Sequence[CropBox]) -> bool:
    begin = 0
    for picture, repeats in kept:
        for frame in range(max(begin, shot.start), min(begin + repeats, shot.stop)):
            box = boxes[frame - shot.start]
            if not picture.holds(box.left, box.top, box.width, box.height):
                return False
        begin += repeats
    return True


def _read(row: Row, settings: CropSettings) -> Iterator[tuple[Picture, int]]:
    left = settings.max_frames
    for picture, repeats in read_pictures(row["path"], fps=settings.fps, start_s=row["start_s"], end_s=row["end_s"]):
        yield picture, min(repeats, left)
        left -= repeats
        if left <= 0:
            return


def _inside_annotation(faces: list[Face], row: Row, time: float) -> list[Face]:
    """Return the faces centred inside the annotated box at ``time``, seconds into the segment; all without boxes."""
    boxes = annotated_boxes(row, [time])
    if boxes is None:
        return faces
    left, top, width, height = boxes[0]
    return [
        face
        for face in faces
        if left <= face.box[0] + face.box[2] / 2 <= left + width
        and top <= face.box[1] + face.box[3] / 2 <= top + height
    ]
