"""Face segments of a video of any length: every usable face between two cuts, read once, in windows of bounded memory.

The crop stage keeps one face of one shot, and trims it to ``crop.max_frames``. A judge of whole videos needs all of
them, cut as that stage cuts its one: of a video with one face, one shot and no more frames, the segment is its clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from typing import Literal

import numpy as np

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.crop import crop_frames, policy_of
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.footage import Footage, annotated_boxes, read_footage
from deepfakemnist.faces.policies import POLICIES, CropBox
from deepfakemnist.faces.shots import face_similarity
from deepfakemnist.faces.track import Track, iou, main_track, track_faces
from deepfakemnist.faces.upright import check_upright
from deepfakemnist.media.decode import read_pictures
from deepfakemnist.media.limits import limited
from deepfakemnist.media.picture import Picture
from deepfakemnist.tables.schemas import Row

Rescale = Literal["always", "other_sizes", "never"]

#: A face that is not seen for longer has left, unless it is seen as often as the crop stage requires.
_LONGEST_GAP_S = 1.0
#: Similarity of two faces in the same place above which they are one person's, as in :mod:`.shots`.
_SAME_PERSON = 0.3
#: The crop stage rejects these to keep its dataset clean; who has a video judged wants a score all the same.
_LENIENT = {"edge": "pad", "max_padding": 1.0}


@dataclass(frozen=True)
class SkippedFace:
    """A part of a video with nothing to judge, and why: a reason of the crop stage."""

    from_s: float
    to_s: float
    reason: str
    detail: str


@dataclass(frozen=True, eq=False)
class FaceSegment:
    """One face in consecutive frames of a window.

    Args:
        track: number of the face's track in the video, from 1; it ends at a cut.
        from_s, to_s: seconds of the video.
        continues: whether the window's beginning separates it from an earlier segment of its track.
        boxes: crop box of every frame, in pixels of the upright video.
        size: side of its crops, pixels.
        as_stored: the crops are the video's pictures as they are.
    """

    track: int
    from_s: float
    to_s: float
    continues: bool
    boxes: Sequence[CropBox]
    size: int
    as_stored: bool
    _footage: Footage
    _frames: range

    @property
    def path(self) -> str:
        """The video."""
        return str(self._footage.row["path"])

    def crops(self) -> Iterator[np.ndarray]:
        """Yield the crops, (size,size,3) uint8 RGB. Only until the next window is read."""
        if not self.as_stored:
            yield from crop_frames(self._footage, self._frames, self.boxes, self.size)
            return
        begin = 0
        for picture, repeats in self._footage.pictures(self._frames, self.boxes):
            shown = range(max(begin, self._frames.start), min(begin + repeats, self._frames.stop))
            if shown:
                yield from repeat(picture.rgb(), len(shown))
            begin += repeats


@dataclass(frozen=True)
class Window:
    """What was found in up to ``crop.max_frames`` consecutive frames."""

    to_s: float
    segments: list[FaceSegment]
    skipped: list[SkippedFace]
    cuts_s: list[float]


def read_windows(
    path: Path | str,
    settings: CropSettings,
    detector: FaceDetector,
    *,
    cropped: bool = False,
    boxes: list[list[float]] | None = None,
    rescale: Rescale = "always",
) -> Iterator[Window]:
    """Yield the windows of a video, one at a time: reading the next one frees the frames of the last.

    Args:
        path: video file.
        settings: of the crop stage. Gates other than min_frames, min_face_px and min_score do not apply.
        detector: of faces.
        cropped: the video is a square crop of one face already and is not cropped again.
        boxes: annotated boxes of one face, rows of seconds, left, top, width and height in pixels; used in place of
            detected ones, as the crop stage does.
        rescale: whether crops are scaled to ``crop.size``. always: as the crop stage does; other_sizes: not those that
            it may have written; never. What is not scaled keeps its pixels, as the frames stage reads them.

    Raises: Failed or Rejected with a reason of :mod:`deepfakemnist.media.container`, at the window in which it appears.
    """
    settings = settings.model_copy(update=_LENIENT)
    row: Row = {"video_id": "video", "path": str(path), "cropped": cropped, "boxes": boxes, "role": "driver"}
    tracks = _Tracks(settings)
    pictures, begin = _Pieces(read_pictures(path, fps=settings.fps)), 0
    while True:
        part = {**row, "start_s": begin / settings.fps, "end_s": None}
        with limited(MediaLimits(), path):
            footage = read_footage(part, settings, detector, pictures.take(settings.max_frames))
        if not footage.frames:
            return
        part["end_s"] = (begin + footage.frames) / settings.fps
        yield _window(footage, tracks, rescale)
        footage.release()
        begin += footage.frames


def _window(footage: Footage, tracks: _Tracks, rescale: Rescale) -> Window:
    settings, start = footage.settings, footage.row["start_s"]
    as_stored = footage.row["cropped"] and (
        rescale == "never" or (rescale == "other_sizes" and footage.width == settings.size)
    )
    cuts = footage.cuts() if settings.split_shots else []
    found: list[tuple[Track, range, Track]] = []
    skipped: list[SkippedFace] = []

    def skip(frames: range, rejection: Rejected) -> None:
        times = (start + frames.start / settings.fps, start + frames.stop / settings.fps)
        skipped.append(SkippedFace(*times, rejection.reason, rejection.detail))

    for shot in (range(*pair) for pair in pairwise([0, *(cut.frame for cut in cuts), footage.frames])):
        try:
            faces = _tracks_in(footage, shot)
        except Rejected as rejection:
            skip(shot, rejection)
            continue
        for track in faces:
            for frames, part in _parts(footage, track, shot):
                try:
                    _check_usable(footage, frames, part)
                    found.append((track, frames, part))
                except Rejected as rejection:
                    skip(frames, rejection)
    segments = []
    numbers = tracks.numbers(footage, found)
    for (_, frames, part), (number, continues) in zip(found, numbers, strict=True):
        boxes = annotated_boxes(footage.row, [frame / settings.fps for frame in frames])
        boxes = part.boxes(frames) if boxes is None else boxes
        try:
            policy = POLICIES[policy_of(footage.row, settings)]
            crop_boxes = policy(boxes, footage.width, footage.height, settings)
        except Rejected as rejection:
            skip(frames, rejection)
            continue
        times = (start + frames.start / settings.fps, start + frames.stop / settings.fps)
        size = footage.width if as_stored else settings.size
        segments.append(FaceSegment(number, *times, continues, crop_boxes, size, as_stored, footage, frames))
    end_s = start + footage.frames / settings.fps
    return Window(end_s, segments, skipped, [start + cut.frame / settings.fps for cut in cuts])


def _tracks_in(footage: Footage, shot: range) -> list[Track]:
    """Return the face tracks of a shot; of a crop or an annotated face, the main one only."""
    turns = {frame: scores for frame, scores in footage.turns.items() if frame in shot} or footage.turns
    check_upright(list(turns.values()))
    sampled = [(found.frame, found.faces) for found in footage.detections if found.frame in shot]
    tracks = track_faces(sampled, footage.settings.min_iou)
    if not tracks:
        score = footage.settings.min_score
        raise Rejected("no_face", f"no face of score {score:g} or more in {len(sampled)} sampled frames")
    if footage.row["cropped"] or footage.row["boxes"]:
        main = main_track(tracks)
        return [main] if main else []
    return tracks


def _parts(footage: Footage, track: Track, shot: range) -> Iterator[tuple[range, Track]]:
    """Yield the frames in which a face is there, and its track in them.

    A face that is seen as often as the crop stage requires is there for the whole shot, as that stage has it.
    """
    settings = footage.settings
    sampled = [found.frame for found in footage.detections if found.frame in shot]
    if len(track.frames) >= settings.min_face_fraction * len(sampled):
        yield shot, track
        return
    longest = max(_LONGEST_GAP_S * settings.fps, settings.detect_every)
    ends = [at for at, (one, next_) in enumerate(pairwise(track.frames), start=1) if next_ - one > longest]
    for first, last in pairwise([0, *ends, len(track.frames)]):
        frames, faces = track.frames[first:last], track.faces[first:last]
        begin = shot.start if frames[0] == sampled[0] else frames[0]
        end = next((frame for frame in sampled if frame > frames[-1]), shot.stop)
        yield range(begin, end), Track(frames, faces)


def _check_usable(footage: Footage, frames: range, track: Track) -> None:
    """Raise Rejected with reason face_too_small or too_short, unless a neighbouring window may hold the rest."""
    settings = footage.settings
    if track.side < settings.min_face_px:
        raise Rejected(
            "face_too_small", f"median side {track.side:.0f} px; at least {settings.min_face_px:g} are required"
        )
    at_border = (frames.start == 0 and footage.row["start_s"] > 0) or (
        frames.stop == footage.frames == settings.max_frames
    )
    if len(frames) < settings.min_frames and not at_border:
        raise Rejected(
            "too_short",
            f"{len(frames)} frames at {settings.fps:g} fps; at least {settings.min_frames} are required",
        )


class _Tracks:
    """Numbers of face tracks, which go on from one window to the next."""

    def __init__(self, settings: CropSettings) -> None:
        self._settings = settings
        self._count = 0
        self._open: list[tuple[int, Track, np.ndarray]] = []  # those at the end of the last window

    def numbers(self, footage: Footage, found: Sequence[tuple[Track, range, Track]]) -> list[tuple[int, bool]]:
        """Return the number of each part's track, and whether it goes on from the last window."""
        numbers: dict[int, int] = {}
        results = []
        still_open = list(self._open)
        self._open = []
        for track, frames, part in found:
            continued = None
            if frames.start == 0:
                patch = _patch(footage, part, 0)
                continued = max(
                    (known for known in still_open if self._is_same(known, part, patch)),
                    key=lambda known: iou(known[1].faces[-1].box, part.faces[0].box),
                    default=None,
                )
            if continued:
                still_open = [known for known in still_open if known is not continued]
                numbers[id(track)] = continued[0]
            elif id(track) not in numbers:
                self._count += 1
                numbers[id(track)] = self._count
            results.append((numbers[id(track)], continued is not None))
            if frames.stop == footage.frames:
                self._open.append((numbers[id(track)], part, _patch(footage, part, -1)))
        return results

    def _is_same(self, known: tuple[int, Track, np.ndarray], part: Track, patch: np.ndarray) -> bool:
        overlap = iou(known[1].faces[-1].box, part.faces[0].box)
        return overlap >= self._settings.min_iou and face_similarity([known[2], patch], 1) >= _SAME_PERSON


def _patch(footage: Footage, track: Track, at: int) -> np.ndarray:
    """Return the aligned face at the start or end of a track."""
    face, frame = track.faces[at], track.frames[at]
    found = next(found for found in footage.detections if found.frame == frame)
    return next(patch for one, patch in zip(found.faces, found.patches, strict=True) if one is face)


class _Pieces:
    """Pictures and their numbers of frames, handed out by a number of frames."""

    def __init__(self, pictures: Iterator[tuple[Picture, int]]) -> None:
        self._pictures = pictures
        self._rest: tuple[Picture, int] | None = None

    def take(self, frames: int) -> Iterator[tuple[Picture, int]]:
        """Yield pictures that stand for up to so many of the next frames."""
        while frames and (found := self._rest or next(self._pictures, None)):
            picture, repeats = found
            given = min(repeats, frames)
            self._rest = (picture, repeats - given) if repeats > given else None
            frames -= given
            yield picture, given
