"""One face through a clip: boxes of looked-at frames joined by overlap, and the boxes between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from deepfakemnist.faces.detect import Face

Box = tuple[float, float, float, float]


@dataclass
class Track:
    """The same face in several frames; ``frames`` ascends and goes with ``faces``."""

    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)

    @property
    def side(self) -> float:
        """Median side of the face, pixels."""
        return float(np.median([face.side for face in self.faces]))

    def boxes(self, frames: range) -> np.ndarray:
        """Return (len(frames),4) float64 left, top, width, height, linear between looked-at frames, constant beyond."""
        known = np.array([face.box for face in self.faces])
        return np.stack([np.interp(frames, self.frames, known[:, side]) for side in range(4)], axis=1)


def iou(first: Box, second: Box) -> float:
    """Return intersection over union of two boxes (left, top, width, height), 0..1."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (first[2] * first[3] + second[2] * second[3] - width * height)


def track_faces(looks: Iterable[tuple[int, list[Face]]], min_iou: float) -> list[Track]:
    """Join the faces of looked-at frames into tracks.

    Each track takes the face that overlaps its last box most, best pairs first; a face that overlaps none by
    ``min_iou`` begins a track. A track outlives frames in which its face was not found, so a blink of the detector
    does not end it. (FOMM's crop-video compares with a track's first box instead, which loses people who lean over.)

    Args:
        looks: frame number, ascending, and the faces found there.
        min_iou: overlap below which two boxes are not the same face, 0..1.
    """
    tracks: list[Track] = []
    for number, faces in looks:
        pairs = sorted(
            (
                (iou(track.faces[-1].box, face.box), t, f)
                for t, track in enumerate(tracks)
                for f, face in enumerate(faces)
            ),
            key=lambda pair: (-pair[0], pair[1], pair[2]),
        )
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for overlap, t, f in pairs:
            if overlap >= min_iou and overlap > 0 and t not in taken_tracks and f not in taken_faces:
                tracks[t].frames.append(number)
                tracks[t].faces.append(faces[f])
                taken_tracks.add(t)
                taken_faces.add(f)
        tracks.extend(Track([number], [face]) for f, face in enumerate(faces) if f not in taken_faces)
    return tracks


def main_track(tracks: list[Track]) -> Track | None:
    """Return the track with most frames, the larger face of equals; None when there is none."""
    return max(tracks, key=lambda track: (len(track.frames), track.side), default=None)
