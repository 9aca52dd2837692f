"""Motions: their files, and arrays that an animator has not declared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.animate.protocol import Motion, MotionArray
from deepfakemnist.errors import Failed

VALUE = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
#: Of three animators: keypoints; rotations and expressions; a latent code of 20 numbers.
MOTIONS = {
    "keypoints": {"value": VALUE, "jacobian": np.ones((4, 5, 2, 2), np.float32)},
    "head": {"R": np.ones((4, 3, 3), np.float32), "exp": VALUE, "scale": np.ones(4, np.float32)},
    "code": {"alpha": VALUE.reshape(4, 15), "pose": np.full((4, 7, 2), np.nan, np.float32)},
}


@pytest.mark.parametrize("kind", MOTIONS)
def test_a_motion_of_any_animator_survives_its_file(kind: str, tmp_path: Path) -> None:
    motion = Motion(MOTIONS[kind])
    motion.save(tmp_path / "motion.npz")
    loaded = Motion.load(tmp_path / "motion.npz")
    assert len(loaded) == 4
    assert set(loaded.arrays) == set(MOTIONS[kind])
    for name, array in MOTIONS[kind].items():
        assert np.array_equal(loaded[name], array, equal_nan=True)
        assert loaded[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "at least one array"),
        ({"value": VALUE, "jacobian": np.ones((3, 5, 2, 2))}, "different numbers of frames: value 4, jacobian 3"),
        ({"value": np.array([{}, {}])}, "expected numbers, frames first"),
        ({"value": np.float32(1)}, "expected numbers, frames first"),
    ],
)
def test_what_is_no_motion_is_refused(arrays: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Motion(arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": VALUE[:, :4]}, r"value \(4, 3\) float32 per frame instead of \(5, 3\) float32"),
        ({"value": VALUE.astype(np.float64)}, r"value \(5, 3\) float64 per frame instead of \(5, 3\) float32"),
        ({"value": VALUE[:, 0]}, r"value \(3,\) float32 per frame"),
        ({"jacobian": VALUE}, "jacobian, which is unknown"),
        ({"pose": VALUE}, r"pose \(5, 3\) float32 per frame instead of \(any, 2\) float32"),
    ],
)
def test_a_motion_that_its_animator_has_not_declared_is_refused(change: dict, message: str) -> None:
    declared = {"value": MotionArray((5, 3)), "pose": MotionArray((None, 2), required=False)}
    Motion({"value": VALUE}).check(declared)
    Motion({"value": VALUE, "pose": np.zeros((4, 9, 2), np.float32)}).check(declared)
    with pytest.raises(Failed, match=message) as failed:
        Motion({"value": VALUE, **change}).check(declared)
    assert failed.value.reason == "motion_mismatch"
    with pytest.raises(Failed, match="the motion has no value"):
        Motion({"pose": np.zeros((4, 9, 2), np.float32)}).check(declared)
