"""Face tracking: linking by overlap, main track, interpolation."""

from __future__ import annotations

import numpy as np
import pytest

from deepfakemnist.faces.detect import Face
from deepfakemnist.faces.track import iou, main_track, track_faces


def face(left: float, top: float, side: float = 100) -> Face:
    return Face((left, top, side, side), np.zeros((5, 2), np.float32), 0.9)


@pytest.mark.parametrize(
    ("second", "overlap"),
    [
        ((0, 0, 10, 10), 1.0),
        ((5, 0, 10, 10), 1 / 3),
        ((10, 0, 10, 10), 0.0),
        ((40, 40, 9, 9), 0.0),
        ((0, 0, 20, 20), 0.25),
    ],
)
def test_iou(second: tuple[float, float, float, float], overlap: float) -> None:
    assert iou((0, 0, 10, 10), second) == pytest.approx(overlap)
    assert iou(second, (0, 0, 10, 10)) == pytest.approx(overlap)


def test_tracks_survive_missed_detections() -> None:
    left = [face(10 * step, 50) for step in range(4)]
    right = [face(400, 50, side=140) for _ in range(3)]
    detections = [
        (0, [left[0], right[0]]),
        (5, [right[1], left[1]]),
        (10, []),
        (15, [left[2]]),
        (20, [left[3], right[2]]),
    ]
    tracks = track_faces(detections, min_iou=0.25)
    assert [track.frames for track in tracks] == [[0, 5, 15, 20], [0, 5, 20]]
    assert tracks[0].faces == left and tracks[1].faces == right
    assert main_track(tracks) is tracks[0]


def test_main_track_prefers_the_larger_face() -> None:
    detections = [(number, [face(0, 0, 60), face(300, 0, 90)]) for number in (0, 5)]
    chosen = main_track(track_faces(detections, 0.25))
    assert chosen is not None and chosen.side == 90
    assert main_track([]) is None


def test_a_jump_starts_another_track() -> None:
    tracks = track_faces([(0, [face(0, 0)]), (5, [face(70, 0)]), (10, [face(75, 0)])], min_iou=0.25)
    assert [track.frames for track in tracks] == [[0], [5, 10]]
    assert len(track_faces([(0, [face(0, 0)]), (5, [face(500, 0)])], min_iou=0.0)) == 2


def test_best_overlap_wins() -> None:
    first, second = face(0, 0), face(40, 0)
    tracks = track_faces([(0, [first, second]), (5, [face(42, 0), face(10, 0)])], min_iou=0.1)
    assert [[found.box[0] for found in track.faces] for track in tracks] == [[0, 10], [40, 42]]


def test_boxes_are_interpolated() -> None:
    (track,) = track_faces([(0, [face(0, 20)]), (4, [face(8, 10, side=104)])], 0.25)
    boxes = track.boxes(range(7))
    assert boxes[:, 0].tolist() == [0, 2, 4, 6, 8, 8, 8]
    assert boxes[2].tolist() == [4, 15, 102, 102]
