"""One reading of a video: its pictures as far as memory allows, the faces in some of them, and where it is cut.

The crop's box is known only after the last look, so pictures wait in memory as they are stored, and of large ones only
the surroundings of the faces seen so far. What does not fit (30 seconds of whole 720p pictures do), or leaves those
surroundings, is decoded a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.detect import Face, FaceDetector
from deepfakemnist.faces.policies import CropBox
from deepfakemnist.faces.shots import Cut, face_patch, find_cuts, step, thumbnail
from deepfakemnist.faces.track import Track, main_track, track_faces
from deepfakemnist.media.decode import read_pictures
from deepfakemnist.media.picture import Picture
from deepfakemnist.tables.schemas import Row

_KEPT_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen in one frame."""

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
    looks: list[Look] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    _kept: list[tuple[Picture, int]] | None = None

    def pictures(self, part: range, boxes: Sequence[CropBox]) -> Iterator[tuple[Picture, int]]:
        """Yield each picture with the number of frames it stands for; their sum is ``frames``.

        Args:
            part: frames of which something is wanted.
            boxes: what is wanted of each of them.
        """
        if self._kept is not None and _all_held(self._kept, part, boxes):
            yield from self._kept
        else:
            yield from _read(self.row, self.settings)

    def cuts(self) -> list[Cut]:
        """Return where another shot or person begins."""
        looks = [(look.frame, look.faces) for look in self.looks]
        tracks = track_faces(looks, self.settings.min_iou)
        # Where two people are seen, the one who is there longer is the one to compare.
        longest: dict[int, tuple[int, Face]] = {}
        for track in tracks:
            for frame, face in zip(track.frames, track.faces, strict=True):
                if len(track.frames) > longest.get(frame, (0, face))[0]:
                    longest[frame] = (len(track.frames), face)
        patches = [
            look.patches[next(i for i, face in enumerate(look.faces) if face is longest[look.frame][1])]
            for look in self.looks
            if look.faces
        ]
        return find_cuts(self.steps, [look.frame for look in self.looks if look.faces], patches)

    def track_in(self, part: range) -> Track:
        """Return the track of the main face in a part. Raises: Rejected with no_face, face_lost, face_too_small."""
        looks = [(look.frame, look.faces) for look in self.looks if look.frame in part]
        return usable_track(looks, self.settings)


def read_footage(row: Row, settings: CropSettings, detector: FaceDetector) -> Footage:
    """Read the segment of an INGESTED row. Where boxes came with it, only faces within them count.

    Raises: Failed or Rejected with a reason of reading a video, or not_square.
    """
    footage, kept, stored = Footage(row, settings), list[tuple[Picture, int]](), 0
    last: np.ndarray | None = None
    surroundings = _Surroundings(row, settings)
    for picture, times in _read(row, settings):
        footage.width, footage.height = picture.width, picture.height
        now = thumbnail(picture.grey())
        footage.steps += [0.0 if last is None else step(last, now), *[0.0] * (times - 1)]
        last = now
        first = -(-footage.frames // settings.detect_every) * settings.detect_every
        if first < footage.frames + times:  # one of the frames that are looked at
            faces, small = detector.look(picture)
            faces = _within(faces, row, first / settings.fps)
            surroundings.add([face.box for face in faces])
            shrink = np.array([small.shape[1] / picture.width, small.shape[0] / picture.height])
            patches = [face_patch(small, face.landmarks * shrink) for face in faces]
            footage.looks += [
                Look(frame, faces, patches) for frame in range(first, footage.frames + times, settings.detect_every)
            ]
        footage.frames += times
        picture = surroundings.of(picture)
        stored += picture.nbytes
        if stored <= _KEPT_BYTES:
            kept.append((picture, times))
        else:
            kept.clear()
    footage._kept = kept if stored <= _KEPT_BYTES else None
    return footage


def given_boxes(row: Row, times: Sequence[float]) -> np.ndarray | None:
    """Return the boxes that came with a row, linear between them, or None where none came.

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


class _Surroundings:
    """The part of a video's pictures that its crop will probably need, by the boxes known so far."""

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
                *(min(known[0], left), min(known[1], top)),
                *(max(known[2], left + width), max(known[3], top + height)),
            )

    def of(self, picture: Picture) -> Picture:
        """Return a picture without what is far from every box: more than the side of a crop away from its middle."""
        if self._whole or self._union is None:
            return picture
        left, top, right, bottom = self._union
        side = ceil(max(right - left, bottom - top) * (1 + 2 * self._settings.margin))
        return picture.near(round((left + right) / 2) - side, round((top + bottom) / 2) - side, 2 * side, 2 * side)


def _all_held(kept: Sequence[tuple[Picture, int]], part: range, boxes: Sequence[CropBox]) -> bool:
    begin = 0
    for picture, times in kept:
        for frame in range(max(begin, part.start), min(begin + times, part.stop)):
            box = boxes[frame - part.start]
            if not picture.holds(box.left, box.top, box.width, box.height):
                return False
        begin += times
    return True


def _read(row: Row, settings: CropSettings) -> Iterator[tuple[Picture, int]]:
    left = settings.max_frames
    for picture, times in read_pictures(row["path"], fps=settings.fps, start_s=row["start_s"], end_s=row["end_s"]):
        yield picture, min(times, left)
        left -= times
        if left <= 0:
            return


def _within(faces: list[Face], row: Row, time: float) -> list[Face]:
    """Return the faces whose middle lies in the box given for a time, seconds into the segment; all without boxes."""
    boxes = given_boxes(row, [time])
    if boxes is None:
        return faces
    left, top, width, height = boxes[0]
    return [
        face
        for face in faces
        if left <= face.box[0] + face.box[2] / 2 <= left + width
        and top <= face.box[1] + face.box[3] / 2 <= top + height
    ]
