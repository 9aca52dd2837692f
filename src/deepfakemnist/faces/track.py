"""Face tracking by box overlap (IoU), with interpolation between sampled frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from deepfakemnist.faces.detect import Face

Box = tuple[float, float, float, float]


@dataclass
class Track:
    """One face in several frames; ``frames`` is ascending and parallel to ``faces``."""

    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)

    @property
    def side(self) -> float:
        """Median side of the face, pixels."""
        return float(np.median([face.side for face in self.faces]))

    def boxes(self, frames: range) -> np.ndarray:
        """Return (len(frames),4) float64 left, top, width, height, linear between sampled frames, constant beyond."""
        known = np.array([face.box for face in self.faces])
        return np.stack([np.interp(frames, self.frames, known[:, side]) for side in range(4)], axis=1)


def iou(first: Box, second: Box) -> float:
    """Return intersection over union of two boxes (left, top, width, height), 0..1."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (first[2] * first[3] + second[2] * second[3] - width * height)


def track_faces(detections: Iterable[tuple[int, list[Face]]], min_iou: float) -> list[Track]:
    """Link the faces of sampled frames into tracks.

    Greedy matching: each track takes the face that overlaps its last box most, best pairs first; a face that overlaps
    no track by ``min_iou`` starts a new one. A track survives missed detections. (FOMM's crop-video compares with a
    track's first box instead, which loses people who lean over.)

    Args:
        detections: frame number, ascending, and the faces detected in it.
        min_iou: overlap below which two boxes are different faces, 0..1.
    """
    tracks: list[Track] = []
    for number, faces in detections:
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
    """Return the track with the most frames, then the largest face; None when there is none."""
    return max(tracks, key=lambda track: (len(track.frames), track.side), default=None)
