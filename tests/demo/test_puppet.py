import cv2
import numpy as np
import pytest

from deepfakemnist.demo.performances import perform, talk
from deepfakemnist.demo.portraits import POINTS, person
from deepfakemnist.demo.puppet import Pose, render
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.settings import ACTIONS


@pytest.fixture(scope="module")
def portrait():
    return person("collins-1")


def landmarks(picture):
    return FaceDetector()(picture)[0].landmarks


def around(portrait, point, radius):
    """Pixels about a feature point, ``radius`` in eye distances."""
    x, y = portrait.points[POINTS.index(point)]
    reach = radius * portrait.unit
    return slice(int(y - reach), int(y + reach)), slice(int(x - reach), int(x + reach))


@pytest.mark.parametrize("name", ["collins-0", "collins-1", "hopper-2", "hopper-3"])
def test_points_lie_where_the_detector_sees_them(name):
    """Mirrored and reshaped people too: within 0.15 eye distances of YuNet's eyes, nose and mouth corners."""
    portrait = person(name)
    distance = np.linalg.norm(landmarks(portrait.picture) - portrait.points[:5], axis=1)
    assert (distance < 0.15 * portrait.unit).all(), distance / portrait.unit


def test_a_name_is_a_person():
    assert np.array_equal(person("hopper-1").picture, person("hopper-1").picture)
    first, second = person("collins-0").picture.astype(int), person("collins-2").picture
    assert np.abs(first - second).mean() > 5


@pytest.mark.parametrize("name", ["collins", "collins-x", "lovelace-1", ""])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="names are collins-N and hopper-N"):
        person(name)


def test_face_coordinates_start_between_the_eyes(portrait):
    eyes = portrait.in_face(portrait.points[:2])
    assert eyes == pytest.approx(np.array([[-0.5, 0], [0.5, 0]]))
    assert portrait.in_picture(eyes) == pytest.approx(portrait.points[:2])


def test_rest_is_the_portrait(portrait):
    assert np.array_equal(render(portrait, Pose()), portrait.picture)


def test_roll_turns_the_face_about_the_neck_and_leaves_the_corner_still(portrait):
    """Clockwise as seen, i.e. towards the subject's left shoulder; the face itself turns as a rigid picture would."""
    turned = render(portrait, Pose(roll=12))
    neck = portrait.in_picture(np.array([0.0, 2.0]))
    matrix = cv2.getRotationMatrix2D((float(neck[0]), float(neck[1])), -12, 1.0)  # OpenCV counts the other way
    rigid = cv2.warpAffine(portrait.picture, matrix, turned.shape[1::-1], flags=cv2.INTER_CUBIC)
    x, y = (matrix @ [*portrait.points[2], 1]).astype(int)
    reach = int(0.6 * portrait.unit)
    face = slice(y - reach, y + reach), slice(x - reach, x + reach)
    assert np.abs(turned[face].astype(int) - rigid[face]).mean() < 2
    assert np.abs(portrait.picture[face].astype(int) - rigid[face]).mean() > 10
    assert np.array_equal(turned[-20:, -5:], portrait.picture[-20:, -5:])


def test_shift_moves_the_face_by_eye_distances(portrait):
    moved = landmarks(render(portrait, Pose(right=0.2, down=0.3))) - landmarks(portrait.picture)
    assert np.median(moved / portrait.unit, axis=0) == pytest.approx([0.2, 0.3], abs=0.06)


def test_a_blink_covers_the_pupils_and_nothing_below(portrait):
    blink = render(portrait, Pose(blink=1.0))
    for eye in ("right_eye", "left_eye"):
        where = around(portrait, eye, 0.06)
        assert blink[where].mean() > portrait.picture[where].mean() + 20
    mouth = around(portrait, "lips", 0.4)
    assert np.array_equal(blink[mouth], portrait.picture[mouth])


def test_a_dropped_jaw_opens_a_dark_mouth_and_leaves_the_eyes(portrait):
    opened = render(portrait, Pose(jaw=1.0))
    x, y = portrait.points[POINTS.index("lips")]
    middle = opened[int(y + 0.1 * portrait.unit) : int(y + 0.2 * portrait.unit), int(x - 3) : int(x + 3)]
    assert middle.mean() < 70
    assert middle[..., 0].mean() > middle[..., 2].mean()  # red, not black
    eye = around(portrait, "right_eye", 0.1)
    assert np.abs(opened[eye].astype(int) - portrait.picture[eye]).max() <= 2


@pytest.mark.parametrize("action", ACTIONS)
def test_performances_start_and_end_alike_and_move_between(action):
    start, end = perform(action, 0.0), perform(action, 1.0)
    for name, value in vars(start).items():
        assert getattr(end, name) == pytest.approx(value, abs=1e-9)
    assert any(perform(action, time) != start for time in (0.3, 0.6))


def test_an_unknown_performance_is_refused():
    with pytest.raises(KeyError, match="wink"):
        perform("wink", 0.5)


def test_talk_depends_on_name_and_seed_only():
    assert talk(0.7, 0, "a") == talk(0.7, 0, "a")
    assert len({talk(0.7, seed, name) for seed in (0, 1) for name in ("a", "b")}) == 4
    assert max(talk(step / 25, 0, "a").blink for step in range(60)) == 1.0
