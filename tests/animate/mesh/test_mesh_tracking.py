import numpy as np
import pytest

from deepfakemnist.animate.mesh.tracking import eye_distance, filled_track, filtered
from deepfakemnist.faces.landmarks import head_model


def still_track(frames: int, scale: float = 8.0) -> np.ndarray:
    """Return a face that keeps still, (T, 478, 3) pixels, with eyes some 80 pixels apart."""
    vertices = head_model().vertices * [1, -1, -1]
    face = np.concatenate([vertices, np.repeat(vertices[[33, 263]], 5, axis=0)]) * scale + [128, 128, 0]
    return np.repeat(face[None], frames, axis=0)


def test_tremble_is_filtered_out() -> None:
    track = still_track(80)
    noise = np.random.default_rng(1).normal(0, 0.3, track.shape)
    out = filtered(track + noise)
    assert np.abs(np.diff(out[10:-10], axis=0)).mean() < 0.25 * np.abs(np.diff(noise[10:-10], axis=0)).mean()
    assert np.abs(out - track).mean() < 0.6 * np.abs(noise).mean()


@pytest.mark.parametrize("frames_shut", [3, 5])
def test_a_blink_keeps_its_depth_and_its_time(frames_shut: int) -> None:
    track = still_track(41)
    size = float(eye_distance(track[0]))
    course = np.interp(np.arange(41), [17, 20 - frames_shut // 2, 20 + frames_shut // 2, 23], [0, 1, 1, 0])
    track[:, 159, 1] += course * 0.12 * size
    lid = filtered(track)[:, 159, 1] - track[0, 159, 1]
    assert lid.max() > 0.85 * 0.12 * size
    assert (lid @ np.arange(41)) / lid.sum() == pytest.approx((course @ np.arange(41)) / course.sum(), abs=0.1)


def test_frames_without_a_face_are_interpolated() -> None:
    assert filled_track([None, None]) is None
