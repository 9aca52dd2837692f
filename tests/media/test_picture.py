"""Image resizing compared with textbook filters in float64."""

from __future__ import annotations

import numpy as np
import pytest

from deepfakemnist.media.picture import resized

pytestmark = pytest.mark.numeric

#: Keys' free parameter as in FFmpeg's scaler.
_A = -0.6
#: Half a level is rounding; the scaler's weights have 14 bits, its intermediate sums 7 fractional bits.
LEVELS = 0.75
#: The scaler has its own edge handling.
INSIDE = (slice(4, -4), slice(4, -4))


def cubic(old: int, new: int) -> np.ndarray:
    """Weights (new, old) of Keys' cubic convolution with replicated edges."""
    weights = np.zeros((new, old))
    for index in range(new):
        at = (index + 0.5) * old / new - 0.5
        for pixel in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            t = abs(at - pixel)
            near = (_A + 2) * t**3 - (_A + 3) * t**2 + 1
            far = _A * (t**3 - 5 * t**2 + 8 * t - 4)
            weights[index, min(max(pixel, 0), old - 1)] += near if t <= 1 else far
    return weights


def area(old: int, new: int) -> np.ndarray:
    """Weights (new, old): the share of each new pixel that an old one covers."""
    edges = np.arange(new + 1) * old / new
    first, last = np.maximum(edges[:-1, None], np.arange(old)), np.minimum(edges[1:, None], np.arange(1, old + 1))
    return np.maximum(last - first, 0) * new / old


def noise(height: int, width: int) -> np.ndarray:
    """A picture far enough from black and white that nothing overshoots; the scaler clips after each direction."""
    picture = np.random.default_rng(0).integers(60, 196, (height, width, 3), np.uint8)
    picture[..., 1] //= 2
    return picture


def test_upscaling_is_bicubic_per_channel() -> None:
    picture = noise(97, 60)
    wanted = np.einsum("yi,xj,ijc->yxc", cubic(97, 200), cubic(60, 131), picture.astype(float), optimize=True)
    made = resized(picture, 131, 200)
    assert (made.shape, made.dtype) == ((200, 131, 3), np.uint8)
    assert np.abs(made - wanted)[INSIDE].max() < LEVELS


def test_downscaling_averages_the_covered_area() -> None:
    picture = noise(301, 233)
    wanted = np.einsum("yi,xj,ijc->yxc", area(301, 128), area(233, 100), picture.astype(float), optimize=True)
    made = resized(picture, 100, 128)
    assert made.shape == (128, 100, 3)
    assert np.abs(made - wanted)[INSIDE].max() < LEVELS


def test_same_size_is_a_copy_and_one_pixel_can_grow() -> None:
    picture = noise(30, 40)
    assert np.array_equal(resized(picture, 40, 30), picture)
    assert np.array_equal(resized(picture[:1, :1], 5, 4), np.broadcast_to(picture[0, 0], (4, 5, 3)))
