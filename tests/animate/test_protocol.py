"""Files of motions."""

import numpy as np
import pytest

from deepfakemnist.animate.protocol import Motion


def test_motion_survives_its_file(tmp_path):
    value = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    jacobian = np.ones((4, 5, 2, 2), np.float32)
    pose = np.full((4, 7, 2), np.nan, np.float32)
    for motion in (Motion(value), Motion(value, jacobian), Motion(value, jacobian, pose)):
        path = tmp_path / "motion.npz"
        motion.save(path)
        loaded = Motion.load(path)
        for name in ("value", "jacobian", "pose"):
            assert (getattr(loaded, name) is None) == (getattr(motion, name) is None)
            if getattr(motion, name) is not None:
                assert np.array_equal(getattr(loaded, name), getattr(motion, name), equal_nan=True)
    with pytest.raises(ValueError, match=r"jacobian \(3, 5, 2, 2\)"):
        Motion(value, jacobian[:3])
    with pytest.raises(ValueError, match="float64"):
        Motion(value.astype(np.float64))
