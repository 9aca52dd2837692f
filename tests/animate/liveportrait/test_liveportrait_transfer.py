"""LivePortrait's motion transfer against the original program, in each of its modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepfakemnist.animate.liveportrait.transfer import Openness, Transfer, driving_keypoints, keypoints, stitched

pytestmark = pytest.mark.numeric

#: Rounding moves keypoints by 2e-6 at most.
CLOSE = 1e-5
MODES = {
    "default": Transfer(),
    "relative_pose": Transfer(),  # the original's driving_option, which changes nothing but rounding
    "relative_expression_nostitch": Transfer(stitching=False),
    "relative_pose_nostitch": Transfer(stitching=False),
    "absolute": Transfer(relative=False),
    "absolute_nostitch": Transfer(relative=False, stitching=False),
    "relative_expression_liplow": Transfer(normalize_lip=True),
    "relative_pose_liplow_nostitch": Transfer(normalize_lip=True, stitching=False),
    "relative_eye": Transfer(eye_retargeting=True),
    "relative_lip": Transfer(lip_retargeting=True),
    "relative_eye_lip_nostitch": Transfer(eye_retargeting=True, lip_retargeting=True, stitching=False),
    "absolute_eye_lip": Transfer(relative=False, eye_retargeting=True, lip_retargeting=True),
    "relative_multiplier": Transfer(driving_multiplier=1.3),
    "relative_region_exp": Transfer(region="exp", stitching=False),
    "relative_region_pose": Transfer(region="pose", stitching=False),
    "relative_region_lip": Transfer(region="lip", stitching=False),
    "relative_region_eyes": Transfer(region="eyes", stitching=False),
    "absolute_region_exp": Transfer(relative=False, region="exp", stitching=False),
    "absolute_region_pose": Transfer(relative=False, region="pose", stitching=False),
    "absolute_region_lip": Transfer(relative=False, region="lip", stitching=False),
    "absolute_region_eyes": Transfer(relative=False, region="eyes", stitching=False),
}


@pytest.fixture(scope="session")
def openness(expected):
    def of(whose: str) -> Openness:
        return Openness(*(torch.from_numpy(expected[f"{whose}_{part}_ratio"]) for part in ("eye", "lip")))

    return of


def test_every_mode_of_the_original_is_covered(expected):
    assert set(MODES) == {name.removeprefix("x_d__") for name in expected if name.startswith("x_d__")}


@pytest.mark.parametrize("mode", MODES)
def test_keypoints_match_the_original(mode, tiny, expected, stored_motion, openness):
    found = driving_keypoints(
        stored_motion("source"),
        stored_motion("driving"),
        0,
        MODES[mode],
        tiny.retargeters,
        openness("source"),
        openness("driving"),
    )
    np.testing.assert_allclose(found, expected[f"x_d__{mode}"], atol=CLOSE, rtol=0)


def test_corrections_match_the_original(tiny, expected, openness):
    still, moved = (torch.from_numpy(expected[name]) for name in ("x_s", "x_d__relative_pose_nostitch"))
    retargeters, source, driving = tiny.retargeters, openness("source"), openness("driving")
    same = {
        "stitch_output": retargeters.stitching(still, moved[2:3]),
        "stitched": stitched(still, moved[2:3], retargeters),
        "eye_delta": retargeters.eyes(still, source.eyes, driving.eyes[2:3, :1]).view(1, 21, 3),
        "lip_delta": retargeters.lips(still, source.lips, driving.lips[2:3]).view(1, 21, 3),
        "lip_delta_before": retargeters.lips(still, source.lips, torch.zeros(1, 1)).view(1, 21, 3),
    }
    for name, found in same.items():
        np.testing.assert_allclose(found, expected[name], atol=CLOSE, rtol=0)
    np.testing.assert_array_equal(torch.cat([source.eyes, driving.eyes[2:3, :1]], 1), expected["eye_condition"])
    np.testing.assert_array_equal(torch.cat([source.lips, driving.lips[2:3]], 1), expected["lip_condition"])


@pytest.mark.parametrize("start", [0, 2])
def test_the_start_frame_shows_the_source_as_it_is(start, tiny, stored_motion):
    source, driving = stored_motion("source"), stored_motion("driving")
    found = driving_keypoints(source, driving, start, Transfer(stitching=False), tiny.retargeters)
    np.testing.assert_allclose(found[start], keypoints(source)[0], atol=CLOSE, rtol=0)
    assert (found[1] - keypoints(source)[0]).abs().max() > 0.01


def test_lips_that_are_closed_stay_as_they_are(tiny, stored_motion, openness):
    closed = Openness(openness("source").eyes, torch.tensor([[0.02]]))
    motions = stored_motion("source"), stored_motion("driving"), 0
    low = driving_keypoints(*motions, Transfer(normalize_lip=True), tiny.retargeters, closed)
    torch.testing.assert_close(low, driving_keypoints(*motions, Transfer(), tiny.retargeters))
