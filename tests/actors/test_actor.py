"""Rendered actors: determinism, framing, facial actions, pose, gaze and their ground truth."""

import numpy as np
import pytest

from deepfakemnist.actors import Actor, Framing, Pose
from deepfakemnist.actors.landmarks import LANDMARKS
from deepfakemnist.faces.detect import FaceDetector

pytestmark = pytest.mark.slow

LARGE = Framing(384, 384, head=0.75, eyes_y=0.47)


def _eye_colour(image, landmarks, side):
    """Mean colour between the landmarks of the eyelids, (3,)."""
    corners = np.array([landmarks.points[f"{side}_eye_{end}"] for end in ("inner", "outer")])
    upper, lower = (landmarks.points[f"{side}_eyelid_{edge}"][1] for edge in ("upper", "lower"))
    left, right = sorted(corners[:, 0])
    inset = 0.25 * (right - left)
    window = image[round(upper) + 1 : round(lower), round(left + inset) : round(right - inset)]
    return window.reshape(-1, 3).astype(float).mean(0)


def test_rendering_is_deterministic_and_independent_of_call_order(bank):
    first = Actor(bank, 3, seed=8)
    first.render(Pose(yaw=20), {"jawOpen": 1.0}, noise=5)
    again = Actor(bank, 3, seed=8)
    assert np.array_equal(first.render(noise=2), again.render(noise=2))
    assert not np.array_equal(again.render(noise=2), again.render(noise=3))


def test_another_take_changes_clothes_and_room_but_not_the_face(bank):
    one, two = Actor(bank, 3, seed=8, take=1), Actor(bank, 3, seed=8, take=2)
    assert one.look.style == two.look.style and np.array_equal(one.look.hair, two.look.hair)
    assert np.array_equal(one.look.skin, two.look.skin)
    assert not np.array_equal(one.look.cloth, two.look.cloth)
    assert one.landmarks(framing=LARGE).points.keys() == set(LANDMARKS)
    corner = np.s_[:20, :20]
    assert np.abs(one.render()[corner].astype(float).mean((0, 1)) - two.render()[corner].mean((0, 1))).max() > 5


def test_neighbouring_identities_look_different(bank):
    images = [Actor(bank, identity, seed=1, take=1).render() for identity in range(4)]
    differences = [np.abs(a.astype(int) - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(differences) > 8


def test_frame_size_and_framing_are_respected(man):
    framing = Framing(640, 480, eyes_x=0.3, eyes_y=0.35, head=0.4)
    image = man.render(framing=framing)
    assert image.shape == (480, 640, 3) and image.dtype == np.uint8
    face = FaceDetector()(image)[0]
    left, top, width, height = man.landmarks(framing=framing).box
    centre = np.array([left + width / 2, top + height / 2])
    assert np.abs(np.array(face.box[:2]) + np.array(face.box[2:]) / 2 - centre).max() < 0.15 * height
    assert 0.25 * 640 < centre[0] < 0.35 * 640


@pytest.mark.numeric
def test_ground_truth_agrees_with_the_detector(man, woman):
    for actor in (man, woman):
        face = FaceDetector()(actor.render(Pose(yaw=8, roll=-6), framing=LARGE))[0]
        truth = actor.landmarks(Pose(yaw=8, roll=-6), framing=LARGE)
        eyes = [
            (truth.points[f"{side}_eye_inner"] + truth.points[f"{side}_eye_outer"]) / 2 for side in ("right", "left")
        ]
        points = [*eyes, truth.points["nose_tip"], truth.points["mouth_right"], truth.points["mouth_left"]]
        errors = np.linalg.norm(face.landmarks - np.array(points), axis=1) / truth.box[3]
        assert errors[[0, 1, 3, 4]].max() < 0.05
        assert errors[2] < 0.12  # YuNet places the nose tip higher on the bridge


def test_closing_an_eye_shows_skin_where_the_eye_was(man):
    rest = man.landmarks(framing=LARGE)
    opened = man.render(framing=LARGE)
    winking = man.render(actions={"eyeBlinkLeft": 1.0}, framing=LARGE)
    cheek = rest.points["left_eyelid_lower"] + [0, 0.12 * rest.box[3]]
    x, y = np.round(cheek).astype(int)
    skin = opened[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 3).mean(0)
    before, after = (np.abs(_eye_colour(image, rest, "left") / skin - 1).max() for image in (opened, winking))
    assert before > 0.25 and after < 0.6 * before
    still = np.abs(_eye_colour(opened, rest, "right") - _eye_colour(winking, rest, "right")).max()
    assert still < 4


def test_opening_the_mouth_shows_its_dark_interior(woman):
    opened = {"jawOpen": 0.9}
    truth = woman.landmarks(actions=opened, framing=LARGE)
    upper, lower = truth.points["lip_upper_inner"], truth.points["lip_lower_inner"]
    x, y = np.round((upper + lower) / 2).astype(int)
    assert lower[1] - upper[1] > 0.12 * truth.box[3]
    shut, wide = (woman.render(actions=actions, framing=LARGE)[y, x].astype(float).sum() for actions in ({}, opened))
    assert wide < 0.7 * shut


@pytest.mark.parametrize(
    ("pose", "moves"),
    [
        (Pose(yaw=15), lambda d: d["nose_tip"][0] > 6),
        (Pose(yaw=-15), lambda d: d["nose_tip"][0] < -6),
        (Pose(pitch=12), lambda d: d["nose_tip"][1] > 6),
        (Pose(pitch=-12), lambda d: d["nose_tip"][1] < -6),
        (Pose(roll=15), lambda d: d["left_eye_outer"][1] - d["right_eye_outer"][1] > 12),
        (Pose(roll=-15), lambda d: d["left_eye_outer"][1] - d["right_eye_outer"][1] < -12),
        (Pose(x=0.1), lambda d: all(abs(move[0] - 38.4) < 0.1 for move in d.values())),
        (Pose(y=0.1), lambda d: all(abs(move[1] - 38.4) < 0.1 for move in d.values())),
    ],
)
def test_poses_move_the_face_as_documented(man, pose, moves):
    rest, posed = man.landmarks(framing=LARGE).points, man.landmarks(pose, framing=LARGE).points
    assert moves({name: posed[name] - rest[name] for name in LANDMARKS})


def test_scale_makes_the_face_larger(man):
    rest, near = man.landmarks().box, man.landmarks(Pose(scale=1.2)).box
    assert near[2] / rest[2] == pytest.approx(1.2, rel=1e-3)


def test_the_iris_moves_with_the_gaze(man):
    framing = Framing(512, 512, head=1.0, eyes_y=0.5)

    def iris(gaze):
        """Horizontal position of the dark part of the left eye, pixels from its inner corner."""
        truth, image = man.landmarks(gaze=gaze, framing=framing), man.render(gaze=gaze, framing=framing)
        inner, outer = (round(truth.points[f"left_eye_{end}"][0]) for end in ("inner", "outer"))
        upper, lower = (round(truth.points[f"left_eyelid_{edge}"][1]) for edge in ("upper", "lower"))
        dark = 255.0 - image[upper + 2 : lower - 1, inner + 6 : outer - 6].astype(float).mean(-1)
        dark = np.clip(dark - np.median(dark), 0, None)
        return (dark.sum(0) * np.arange(dark.shape[1])).sum() / dark.sum()

    assert iris((18.0, 0.0)) - iris((-18.0, 0.0)) > 4


def test_lids_follow_the_eyes_down(man):
    rest, down = man.landmarks(framing=LARGE), man.landmarks(gaze=(0, -25), framing=LARGE)
    opening = [truth.distance("left_eyelid_upper", "left_eyelid_lower") for truth in (rest, down)]
    assert opening[1] < 0.8 * opening[0]


def test_an_unknown_action_is_rejected_with_the_known_names(man):
    with pytest.raises(ValueError, match=r"unknown facial action jawWide; the bank has browDownLeft, .*tongueOut"):
        man.render(actions={"jawWide": 0.5})


def test_an_identity_outside_the_bank_is_rejected(bank):
    with pytest.raises(ValueError, match=rf"identities 0 to {len(bank) - 1}, not {len(bank)}"):
        Actor(bank, len(bank), seed=0)


@pytest.mark.parametrize("wrong", [{"width": 8}, {"height": 5000}, {"head": 0.0}])
def test_framings_out_of_range_are_rejected(wrong):
    with pytest.raises(ValueError, match="not"):
        Framing(**wrong)
