import csv
import json

import cv2
import numpy as np
import pytest

from deepfakemnist.demo.puppet import Pose, render
from deepfakemnist.errors import Failed
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.liveness.face_motion import align, measure_motion
from deepfakemnist.liveness.local_motion import LIMITS, LocalMotion
from deepfakemnist.media.decode import read_frames
from deepfakemnist.settings import ACTIONS, LocalMotionSettings


def provider(**settings):
    return LocalMotion(LocalMotionSettings(provider="local-motion", **settings))


def test_every_action_has_limits():
    assert set(LIMITS) == set(ACTIONS)


def test_a_tilt_is_a_slope_with_its_side_and_no_blink(tilting):
    verdict = provider().check(tilting, 25.0, "left_slope")
    assert verdict.live
    assert verdict.score >= 1
    assert verdict.evidence["excursion"]["roll"] > 4  # positive: the subject's left
    assert json.loads(json.dumps(verdict.evidence)) == verdict.evidence

    other = provider().check(tilting, 25.0, "mouth")
    assert (other.live, other.evidence["reason"]) == (False, "action_not_seen")


def test_a_tilt_to_the_other_side_has_the_other_sign(tilting):
    verdict = provider().check(tilting[:, :, ::-1], 25.0, "right_slope")
    assert verdict.live
    assert verdict.evidence["excursion"]["roll"] < -4


def test_closing_lids_are_a_blink_and_nothing_else(portrait):
    closed = [0.0] * 8 + [0.5, 1.0, 1.0, 1.0, 0.5] + [0.0] * 8
    # The shift of a hand-held camera: without any change a clip counts as a still picture.
    clip = np.stack([render(portrait, Pose(blink=b, right=0.01 * (i % 2))) for i, b in enumerate(closed)])
    scores = {action: provider(every=1).check(clip, 25.0, action).score for action in ACTIONS}
    assert scores["blink"] >= 1
    assert [action for action in ACTIONS if scores[action] >= 1] == ["blink"]


def test_strength_scales_the_limit(tilting):
    plain = provider().check(tilting, 25.0, "left_slope")
    strict = provider(strength=4.0).check(tilting, 25.0, "left_slope")
    assert strict.score == pytest.approx(plain.score / 4)
    assert not strict.live
    assert strict.evidence["limits"] == {"roll": LIMITS["left_slope"]["roll"] * 4}


def test_a_still_photograph_is_refused(face):
    verdict = provider().check(np.stack([face] * 12), 25.0, "smile")
    assert (verdict.live, verdict.score, verdict.evidence["reason"]) == (False, 0.0, "still_picture")


def test_no_face_is_refused(nobody):
    noisy = np.stack([nobody, nobody + 9] * 6)
    verdict = provider().check(noisy, 25.0, "smile")
    assert (verdict.live, verdict.score, verdict.evidence["reason"]) == (False, 0.0, "no_face")


def test_a_face_that_is_often_gone_is_refused(tilting, nobody):
    clip = np.concatenate([tilting, np.stack([nobody] * 12)])
    verdict = provider().check(clip, 25.0, "left_slope")
    assert (verdict.live, verdict.evidence["reason"]) == (False, "face_missing")
    assert (verdict.evidence["frames_looked_at"], verdict.evidence["frames_with_face"]) == (18, 12)


def test_an_unknown_action_is_a_failure_that_names_the_known(face):
    with pytest.raises(Failed, match=r"'wink' is not one of blink, mouth"):
        provider().check(np.stack([face] * 3), 25.0, "wink")


def test_height_is_in_eye_distances_whatever_the_resolution(portrait):
    clip = np.stack([render(portrait, Pose(down=down)) for down in (0.0, 0.0, 0.2, 0.4, 0.4)])
    for zoom in (1.0, 2.0):
        motion = measure_motion(np.stack([cv2.resize(frame, None, fx=zoom, fy=zoom) for frame in clip]), FaceDetector())
        assert np.ptp(motion.height) == pytest.approx(0.4, abs=0.1)
        assert (motion.looked, motion.found, motion.found_fraction) == (5, 5, 1.0)


def test_alignment_puts_the_landmarks_on_the_template():
    angle = np.radians(30)
    turn = 2.5 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    template = np.array([(32, 38), (64, 38), (48, 56), (35, 74), (61, 74)], dtype=float)
    landmarks = template @ turn.T + [150, 20]
    picture = np.zeros((400, 400), np.uint8)
    for x, y in landmarks:
        cv2.circle(picture, (round(x), round(y)), 6, 255, -1)
    aligned = align(picture, landmarks)
    for x, y in template.astype(int):
        assert aligned[y, x] == 255
    assert aligned[10, 10] == 0


def test_version_follows_the_limits_and_settings():
    assert provider().version == provider().version
    assert provider().version != provider(strength=0.5).version


@pytest.mark.real
def test_most_real_drivers_show_their_action(real_data, as_cropped):
    """Ten drivers, the second of each action; of all twenty 19 passed when the limits were set."""
    with (real_data / "real" / "drivers.tsv").open(encoding="utf-8") as file:
        rows = {row["action"]: row for row in csv.DictReader(file, delimiter="\t")}
    judge, passed = provider(), []
    for action, row in rows.items():
        span = {"start_s": float(row["start_s"]), "end_s": float(row["end_s"])}
        clip = np.stack(list(read_frames(real_data / "real" / row["path"], fps=25.0, **span)))
        if judge.check(as_cropped(clip), 25.0, action).live:
            passed.append(action)
    print(sorted(passed))
    assert len(rows) == 10
    assert len(passed) >= 8
