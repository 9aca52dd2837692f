"""Stretching a picture: against the bicubic of the textbook, in float64."""

from __future__ import annotations

import numpy as np

from deepfakemnist.media.picture import stretched

#: Keys' free parameter as FFmpeg's scaler has it.
_A = -0.6


def cubic(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of Keys' cubic convolution; beyond the edge the last pixel goes on."""
    weights = np.zeros((new, old))
    for index in range(new):
        at = (index + 0.5) * old / new - 0.5
        for pixel in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            t = abs(at - pixel)
            near = (_A + 2) * t**3 - (_A + 3) * t**2 + 1
            far = _A * (t**3 - 5 * t**2 + 8 * t - 4)
            weights[index, min(max(pixel, 0), old - 1)] += near if t <= 1 else far
    return weights


def test_a_picture_is_stretched_bicubically_each_colour_for_itself() -> None:
    # Far enough from black and white that nothing overshoots them: the scaler clips after each direction.
    picture = np.random.default_rng(0).integers(60, 196, (97, 60, 3), np.uint8)
    picture[..., 1] //= 2
    wanted = np.einsum("yi,xj,ijc->yxc", cubic(97, 200), cubic(60, 131), picture.astype(float))
    made = stretched(picture, 131, 200)
    assert (made.shape, made.dtype) == ((200, 131, 3), np.uint8)
    inside = slice(4, -4)  # it treats the edge in its own way
    # Half a level is rounding; its weights have 14 bits and sums between the directions 7 bits below the level.
    assert np.abs(made - wanted)[inside, inside].max() < 0.75


def test_the_smallest_pictures_are_stretched_too() -> None:
    picture = np.array([[[10, 20, 30]]], np.uint8)
    assert np.array_equal(stretched(picture, 5, 4), np.broadcast_to(picture[0, 0], (4, 5, 3)))
