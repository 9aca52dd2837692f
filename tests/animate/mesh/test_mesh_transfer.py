import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepfakemnist.animate.mesh.transfer import LIPS, Transfer
from deepfakemnist.faces.landmarks import head_model

MODEL = head_model()
UPPER, LOWER = [159, 158, 160], [145, 153, 144]


def face(scale: float, centre: tuple[float, float], stretch: float = 1.0) -> np.ndarray:
    """Return the canonical face in pixels, (478, 3), with irises in the middle of the eyes."""
    vertices = MODEL.vertices * [1, -1, -1] * [1, stretch, 1]
    irises = [vertices[[33, 133, 159, 145]].mean(axis=0), vertices[[263, 362, 386, 374]].mean(axis=0)]
    return np.concatenate([vertices, np.repeat(irises, 5, axis=0)]) * scale + [*centre, 0]


@pytest.mark.parametrize(("axis", "degrees"), [("y", 25.0), ("x", -15.0), ("z", 12.0)], ids=["yaw", "pitch", "roll"])
def test_a_head_that_turns_turns_the_source_as_far(axis: str, degrees: float) -> None:
    source, start = face(9.0, (130, 120), stretch=1.08), face(6.0, (100, 140))
    turn = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    pivot = MODEL.weights @ start[MODEL.stable]
    driver = (start - pivot) @ turn.T + pivot + [6, -3, 0]
    placed = Transfer(source, start, MODEL)(driver)
    own = MODEL.weights @ source[MODEL.stable]
    # Motion in pixels grows with the face.
    assert np.allclose(placed.points, (source - own) @ turn.T + own + np.array([6, -3, 0]) * 1.5, atol=0.02)
    assert np.allclose(placed.rigid(source), placed.points, atol=0.02)
    assert placed.degrees == pytest.approx(abs(degrees), abs=0.05)


def test_the_start_frame_leaves_the_source_as_it_is() -> None:
    source, start = face(9.0, (130, 120)), face(6.0, (100, 140), stretch=1.1)
    assert np.allclose(Transfer(source, start, MODEL)(start).points, source, atol=1e-9)


def test_a_head_that_comes_closer_grows() -> None:
    source, start = face(9.0, (130, 120)), face(6.0, (100, 140))
    placed = Transfer(source, start, MODEL)(face(7.2, (100, 140)))
    assert np.linalg.norm(placed.points[33] - placed.points[263]) == pytest.approx(
        1.2 * np.linalg.norm(source[33] - source[263]), rel=1e-6
    )


def test_lids_that_nearly_meet_shut_the_eyes_of_any_source() -> None:
    source, start = face(9.0, (130, 120), stretch=1.3), face(6.0, (100, 140))
    driver = start.copy()
    driver[UPPER] += 0.9 * (start[LOWER] - start[UPPER])
    moved = Transfer(source, start, MODEL)(driver).points
    assert np.linalg.norm(moved[UPPER] - moved[LOWER], axis=1).max() < 1e-6
    driver[UPPER] = start[UPPER] + 0.5 * (start[LOWER] - start[UPPER])
    half = Transfer(source, start, MODEL)(driver).points
    ratios = np.linalg.norm((half[UPPER] - half[LOWER])[:, :2], axis=1) / np.linalg.norm(
        (source[UPPER] - source[LOWER])[:, :2], axis=1
    )
    assert ratios == pytest.approx([0.375] * 3, abs=0.02)


def test_lips_never_pass_through_each_other() -> None:
    source, start = face(9.0, (130, 120)), face(6.0, (100, 140))
    start = start.copy()
    for _, lower in LIPS:
        start[lower] += [0, 8, 0]
    closing = start.copy()
    for upper, lower in LIPS:
        closing[lower] = closing[upper]
    moved = Transfer(source, start, MODEL)(closing).points
    gaps = [moved[lower, 1] - moved[upper, 1] for upper, lower in LIPS]
    assert min(gaps) > -0.1  # along the face, which leans by a hair


def test_a_driver_who_closes_an_open_mouth_squeezes_no_lips() -> None:
    source, closed = face(9.0, (130, 120)), face(6.0, (100, 140))
    jaw = MODEL.vertices[:, 1] < -4.3
    start = closed.copy()
    start[: len(jaw)][jaw] += [0, 8, 0]
    moved = Transfer(source, start, MODEL)(closed).points
    # The lips of this source are 4.5 pixels apart, and so far its jaw can close; the driver closes it by 12.
    middle = [14, 17, 87, 317, 18, 152]
    assert np.abs(moved[middle, 1] - source[middle, 1]).max() < 5
    thickness = (moved[17, 1] - moved[14, 1]) / (source[17, 1] - source[14, 1])
    assert 0.9 < thickness < 1.1


def test_eyes_look_where_the_driver_or_the_source_looks() -> None:
    source, start = face(9.0, (130, 120)), face(6.0, (100, 140))
    driver = start.copy()
    driver[468:] += [3, -1, 0]
    driver[:] += [5, 0, 0]
    followed = Transfer(source, start, MODEL)(driver).points - source
    kept = Transfer(source, start, MODEL, gaze=False)(driver).points - source
    assert followed[468:] - followed[33] == pytest.approx(np.tile([4.5, -1.5, 0], (10, 1)), abs=0.05)
    assert kept[468:] - kept[33] == pytest.approx(np.zeros((10, 3)), abs=0.05)


def test_an_expression_is_scaled_to_the_face() -> None:
    source, start = face(9.0, (130, 120)), face(6.0, (100, 140))
    driver = start.copy()
    driver[61] += [-4, -2, 0]
    moved = Transfer(source, start, MODEL)(driver).points[61] - source[61]
    assert moved == pytest.approx([-6, -3, 0], abs=0.05)
