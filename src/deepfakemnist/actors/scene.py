"""Scene of an actor: indoor background, key and fill light, and the camera model."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfakemnist.actors.fields import noise

_READ_NOISE, _SHOT_NOISE = 0.0035, 0.0065  # of full scale; a webcam indoors
_BLUR_PX = 0.45  # lens and demosaicing, at 256 pixels of height
_SHUTTER = 0.2  # share of the previous frame blended into this one: slight motion blur


@dataclass(frozen=True, eq=False)
class Light:
    """Lighting in linear RGB, (3,) float32; directions are unit vectors from the face."""

    key_direction: np.ndarray
    key: np.ndarray
    sky: np.ndarray  # from above
    floor: np.ndarray  # from below
    front: np.ndarray  # fill light from the camera's side
    exposure: float


def sample_light(rng: np.random.Generator) -> Light:
    """Sample indoor light: a window or lamp from one side, the ceiling, and light reflected by the room."""
    towards = np.array([rng.uniform(-0.9, 0.9), -rng.uniform(0.6, 1.0), rng.uniform(0.25, 0.85)])
    warmth = rng.uniform(-1, 1)  # lamp .. daylight
    tint = np.array([1 + 0.10 * warmth, 1.0, 1 - 0.14 * warmth], np.float32)
    ambient = np.array([1 - 0.03 * warmth, 1.0, 1 + 0.05 * warmth], np.float32)
    contrast = rng.uniform(0.75, 1.15)
    return Light(
        key_direction=(towards / np.linalg.norm(towards)).astype(np.float32),
        key=np.float32(0.80 * contrast) * tint,
        sky=np.float32(0.36) * ambient,
        floor=np.float32(0.16) * ambient * np.array([1.05, 1.0, 0.92], np.float32),
        front=np.float32(0.22 / contrast) * ambient,
        exposure=float(rng.uniform(0.92, 1.12)),
    )


def paint_room(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a random out-of-focus room, (H,W,3) float32 linear, for a frame of ``size`` (width, height)."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    kind = str(rng.choice(["wall", "shelves", "window", "office"]))
    wall = rng.uniform(0.18, 0.62) * (1 + 0.07 * rng.normal(0, 1, 3))
    lit = 1 + 0.30 * (x / (width / height) - 0.5) * rng.choice([-1, 1]) - 0.20 * (y - 0.5)
    room = (np.clip(wall, 0.05, 0.85) * lit[..., None]).astype(np.float32)
    room *= 1 + 0.03 * noise(rng, (height, width), max(2, height // 5))[..., None]
    if kind == "shelves":
        _shelves(room, rng)
    elif kind == "window":
        _window(room, rng)
    elif kind == "office":
        _office(room, rng)
    blur = height * rng.uniform(0.008, 0.030)
    return cv2.GaussianBlur(room, (0, 0), blur)


def expose(light: np.ndarray, last: np.ndarray | None, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Apply the camera model: motion blur, lens blur, tone curve, gamma and sensor noise.

    Args:
        light: (h,w,3) float32 linear, supersampled by an integer factor.
        last: ``light`` of the previous frame, for motion blur; None for a still.
        size: width and height of the frame.
        rng: of the sensor noise.

    Returns:
        (H,W,3) uint8 RGB.
    """
    if last is not None:
        light = cv2.addWeighted(light, 1 - _SHUTTER, last, _SHUTTER, 0)
    image = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), _BLUR_PX * max(1.0, size[1] / 256))
    image = np.clip(image, 0, None)
    image = image * (1 + 0.10 * image) / (1 + 0.18 * image * image)  # highlight roll-off, like film
    image = np.power(image, np.float32(1 / 2.2))
    grain = rng.standard_normal(image.shape, np.float32)
    image += grain * (np.float32(_READ_NOISE) + np.float32(_SHOT_NOISE) * np.sqrt(image))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _colour(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    return (rng.uniform(low, high) * (1 + 0.25 * rng.normal(0, 1, 3)).clip(0.4, 1.7)).astype(np.float32)


def _shelves(room: np.ndarray, rng: np.random.Generator) -> None:
    height, width = room.shape[:2]
    board = _colour(rng, 0.08, 0.4)
    gap = height * rng.uniform(0.22, 0.34)
    for shelf in np.arange(rng.uniform(0, gap), height, gap):
        left = rng.uniform(0, width * 0.1)
        while left < width:
            thick, tall = height * rng.uniform(0.02, 0.07), gap * rng.uniform(0.5, 0.85)
            if rng.random() < 0.8:
                _box(room, left, shelf - tall, thick, tall, _colour(rng, 0.04, 0.5))
            left += thick * rng.uniform(1.0, 1.4)
        _box(room, 0, shelf, width, height * 0.02, board)


def _window(room: np.ndarray, rng: np.random.Generator) -> None:
    height, width = room.shape[:2]
    wide, tall = height * rng.uniform(0.35, 0.6), height * rng.uniform(0.5, 0.8)
    left, top = rng.uniform(-0.2 * wide, width - 0.7 * wide), height * rng.uniform(-0.1, 0.15)
    sky = rng.uniform(0.75, 1.05) * np.array([0.92, 0.98, 1.05], np.float32)
    _box(room, left, top, wide, tall, sky)
    _box(room, left, top + 0.75 * tall, wide, 0.25 * tall, _colour(rng, 0.15, 0.45))
    bar = height * 0.018
    for share in (0.0, 0.5, 1.0):
        _box(room, left + share * wide - bar / 2, top, bar, tall, np.full(3, 0.62, np.float32))
    for share in (0.0, 0.55, 1.0):
        _box(room, left, top + share * tall - bar / 2, wide, bar, np.full(3, 0.62, np.float32))
    if rng.random() < 0.5:
        curtain = _colour(rng, 0.2, 0.6)
        _box(room, left - 0.25 * wide, top - height * 0.1, 0.35 * wide, tall * 1.3, curtain)


def _office(room: np.ndarray, rng: np.random.Generator) -> None:
    height, width = room.shape[:2]
    _box(room, 0, height * rng.uniform(0.62, 0.8), width, height, _colour(rng, 0.06, 0.3))
    for _ in range(rng.integers(2, 6)):
        wide, tall = height * rng.uniform(0.12, 0.4), height * rng.uniform(0.12, 0.45)
        left, top = rng.uniform(-0.1, 1.0) * width, rng.uniform(0.05, 0.6) * height
        _box(room, left, top, wide, tall, _colour(rng, 0.05, 0.6))
        if rng.random() < 0.5:  # a framed picture or a screen
            _box(room, left + 0.08 * wide, top + 0.1 * tall, 0.84 * wide, 0.8 * tall, _colour(rng, 0.05, 0.7))


def _box(room: np.ndarray, left: float, top: float, wide: float, tall: float, colour: np.ndarray) -> None:
    corner, opposite = (round(left), round(top)), (round(left + wide), round(top + tall))
    cv2.rectangle(room, corner, opposite, [float(value) for value in colour], -1)
