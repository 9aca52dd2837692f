"""Compiled loops of the mesh, against the same arithmetic in NumPy: equal to the last bit."""

import numpy as np
import pytest

from deepfakemnist.animate.mesh.pixel_loops import (
    blended,
    brighten,
    places,
    samples_at,
    samples_per_triangle,
    spread_and_motion,
)
from deepfakemnist.media.raster import interpolate, visibility

HEIGHT, WIDTH, BORDER = 20, 26, 5


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(8)


@pytest.fixture
def sampled(random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Random triangles over a part of the samples: where their corners come from, and what is seen of them."""
    screen = (random.random((40, 3)) * (2 * WIDTH - 8, 2 * HEIGHT - 8, 9) + 4).astype(np.float32)
    triangles = random.integers(0, 40, (30, 3)).astype(np.int32)
    triangle, weights, _ = visibility(screen, triangles, np.ones(30, bool), (2 * WIDTH, 2 * HEIGHT))
    assert 0.2 < (triangle >= 0).mean() < 0.99
    plane = (random.random((40, 2)) * (WIDTH, HEIGHT)).astype(np.float32)
    return plane, triangles, triangle, weights


def test_places_are_those_of_the_visible_triangle(sampled: tuple[np.ndarray, ...]) -> None:
    plane, triangles, triangle, weights = sampled
    every = np.maximum(triangle, 0).reshape(-1)
    expected = interpolate(plane, triangles, every, weights.reshape(-1, 2), fast=False).reshape(*triangle.shape, 2)
    assert np.array_equal(places(plane, triangles, triangle, weights), expected * (triangle >= 0)[..., None])
    assert np.array_equal(samples_per_triangle(triangle, 30), np.bincount(triangle[triangle >= 0], minlength=30))


def test_spread_and_motion_are_those_of_four_samples(
    sampled: tuple[np.ndarray, ...], random: np.random.Generator
) -> None:
    source = places(*sampled)
    one, two, three, four = (source[row::2, column::2] for row in range(2) for column in range(2))
    centre = ((one + two) + (three + four)) / np.float32(4)
    covered = random.choice(np.array([0, 0.5, 1], np.float32), (HEIGHT, WIDTH))
    edges, moved = spread_and_motion(source, centre, covered, np.float32(BORDER), np.float32(9))
    spread = np.maximum(np.abs(one - four), np.abs(two - three)).max(axis=2)
    assert np.array_equal(edges, (spread > 9) | ((covered > 0) & (covered < 1)))
    assert 0.1 < edges.mean() < 0.9
    across = centre[..., 0] + BORDER - (np.arange(WIDTH, dtype=np.float32) + BORDER)
    down = centre[..., 1] + BORDER - (np.arange(HEIGHT, dtype=np.float32)[:, None] + BORDER)
    assert np.array_equal(moved, np.sqrt(across * across + down * down) * (covered > 0))

    near, known = samples_at(edges, source, sampled[2], np.float32(BORDER))
    assert np.array_equal(near, np.stack([part[edges] + BORDER for part in (one, two, three, four)]))
    seen = sampled[2] >= 0
    assert np.array_equal(known, [seen[row::2, column::2][edges] for row in range(2) for column in range(2)])


def test_a_frame_is_blended_from_person_background_and_source(random: np.random.Generator) -> None:
    layers, background, picture = ((random.random((HEIGHT, WIDTH, n)) * 255).astype(np.float32) for n in (4, 3, 3))
    covered, share = ((random.random((HEIGHT, WIDTH)) * most).astype(np.float32) for most in (1, 1.6))
    opacity = (layers[..., 3] / 255 * covered)[..., None]
    composed = layers[..., :3] * opacity + background * (1 - opacity)
    expected = picture + np.clip(share, 0, 1)[..., None] * (composed - picture)
    assert np.array_equal(blended(layers, covered, background, picture, share), expected)


def test_brightness_is_multiplied_rounded_and_limited(random: np.random.Generator) -> None:
    picture = random.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    factor = (0.5 + random.random((HEIGHT, WIDTH))).astype(np.float32)
    factor[0] = 0.5  # halves, which round to even
    out = picture.copy()
    brighten(picture, factor, out)
    assert np.array_equal(out[..., :3], np.clip(np.round(picture[..., :3] * factor[..., None]), 0, 255))
    assert np.array_equal(out[..., 3], picture[..., 3])
