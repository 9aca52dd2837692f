"""Procedural motion of the ten actions and of talking, checked on ground-truth landmarks."""

import numpy as np
import pytest

from deepfakemnist.actors import TALK, perform
from deepfakemnist.actors.motion import make_motion
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.errors import ConfigError

pytestmark = pytest.mark.slow

SEEDS = range(6)


def _opening(truth):
    return sum(truth.distance(f"{side}_eyelid_upper", f"{side}_eyelid_lower") for side in ("left", "right"))


def _tilt(truth):
    """Drop of the left eye relative to the right one, over their distance."""
    across = truth.points["left_eye_outer"] - truth.points["right_eye_outer"]
    return float(across[1] / np.linalg.norm(across))


def _turn(truth):
    """Position of the nose between the outer eye corners: 0 in the middle, positive to the subject's left."""
    left, right = truth.points["left_eye_outer"], truth.points["right_eye_outer"]
    across = (left - right) / np.linalg.norm(left - right) ** 2
    return float((truth.points["nose_tip"] - (left + right) / 2) @ across)


def _lowering(truth):
    eyes = (truth.points["left_eye_inner"][1] + truth.points["right_eye_inner"][1]) / 2
    return float((truth.points["nose_tip"][1] - eyes) / truth.box[3])


def _mouth_width(truth):
    return truth.distance("mouth_left", "mouth_right")


def _mouth_gap(truth):
    return truth.distance("lip_upper_inner", "lip_lower_inner")


def _brow_height(truth):
    return sum(truth.points[f"{s}_eye_inner"][1] - truth.points[f"{s}_brow_middle"][1] for s in ("left", "right"))


#: Expected change of the ground truth from rest to the action's peak.
MOVES = {
    "blink": lambda rest, peak: _opening(peak) < 0.3 * _opening(rest),
    "mouth": lambda rest, peak: _mouth_gap(peak) > _mouth_gap(rest) + 10,
    "yaw": lambda rest, peak: abs(_turn(peak) - _turn(rest)) > 0.12,
    "nod": lambda rest, peak: abs(_lowering(peak) - _lowering(rest)) > 0.025,
    "right_slope": lambda rest, peak: _tilt(peak) < _tilt(rest) - 0.2,
    "left_slope": lambda rest, peak: _tilt(peak) > _tilt(rest) + 0.2,
    "up": lambda rest, peak: _lowering(peak) < _lowering(rest) - 0.03,
    "smile": lambda rest, peak: _mouth_width(peak) > 1.1 * _mouth_width(rest),
    "surprise": lambda rest, peak: (
        _brow_height(peak) > 1.1 * _brow_height(rest) and _mouth_gap(peak) > _mouth_gap(rest) + 5
    ),
    "embarrassment": lambda rest, peak: (
        _lowering(peak) > _lowering(rest) + 0.02 and abs(_turn(peak) - _turn(rest)) > 0.05
    ),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("frames", [16, 40, 75])
def test_every_action_starts_and_ends_at_rest_and_reaches_its_peak(action, frames):
    for seed in SEEDS:
        curve = make_motion(action, seed, frames).curve
        assert curve.shape == (frames,)
        assert curve[0] == curve[-1] == 0
        assert 0.6 <= curve.max() <= 1


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_moves_the_expected_landmarks(action, man):
    for seed in SEEDS:
        played = perform(man, action, seed)
        peak = int(played.curve.argmax())
        assert MOVES[action](played.landmarks(0), played.landmarks(peak)), seed


@pytest.mark.parametrize("action", ["blink", "smile", "mouth"])
def test_facial_expressions_leave_the_head_almost_still(action, man):
    poses = perform(man, action, 1).poses
    assert np.ptp(poses, axis=0).max() < 4


def test_intensity_and_timing_vary_with_the_seed():
    curves = [make_motion("smile", seed).curve for seed in SEEDS]
    peaks = [curve.max() for curve in curves]
    assert np.ptp(peaks) > 0.05
    assert len({int((curve > 0).argmax()) for curve in curves}) > 2


def test_motion_is_deterministic():
    first = make_motion("nod", 5)
    make_motion("yaw", 5)
    again = make_motion("nod", 5)
    assert np.array_equal(first.pose, again.pose) and np.array_equal(first.curve, again.curve)


def test_talking_moves_jaw_lids_eyes_and_head():
    talk = make_motion(TALK, 2, frames=150)
    assert (talk.curve == 0).all()
    jaw = talk.weights["jawOpen"]
    assert jaw.max() > 0.2
    turns = np.flatnonzero(np.diff(np.sign(np.diff(jaw))) < 0)
    assert len(turns) >= 8  # syllables in six seconds
    assert talk.weights["eyeBlinkLeft"].max() > 0.9
    assert np.ptp(talk.gaze[:, 0]) > 3
    assert 2 < np.ptp(talk.pose[:, 0]) < 15


def test_blendshape_weights_stay_in_range():
    for action in (*ACTIONS, TALK):
        motion = make_motion(action, 3)
        for name, weight in motion.weights.items():
            assert weight.min() >= 0 and weight.max() <= 1, name


def test_frames_are_bit_identical_when_rendered_again_and_have_sensor_noise(woman):
    played = perform(woman, "smile", 4, frames=16)
    frames = list(played.frames())
    assert len(frames) == len(played) == 16
    assert np.array_equal(frames[-1], played.clip()[-1])
    corner = np.stack(frames)[:, :8, :8].astype(float)
    assert 0.3 < corner.std(0).mean() < 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "wave"}, "unknown action 'wave'; actors perform blink, mouth, .*talk"),
        ({"frames": 8}, "at least 16 frames, not 8"),
        ({"fps": 0.0}, "fps must be positive, not 0.0"),
    ],
)
def test_invalid_arguments_are_rejected(man, arguments, message):
    with pytest.raises(ConfigError, match=message):
        perform(man, **{"action": "smile", "seed": 1, **arguments})
