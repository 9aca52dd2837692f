"""Label-preserving data augmentation: torchvision transforms that depend on a seed alone.

OpenCV computes them, from torchvision's random numbers and in a tenth to a half of its time; each gives values that
differ from torchvision's by one level at most.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from deepfakemnist.config.detectors import Augmentation

#: What v2.ColorJitter changes, in its order.
_CHANGES = ("brightness", "contrast", "saturation", "hue")
#: Weights of red, green and blue in torchvision's grey.
_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)
_SHADES = np.arange(256, dtype=np.float32)
#: torchvision's conversion from 0..1 to levels, which drops the fraction.
_LEVELS = 255.999


def augment(pixels: Tensor, kind: Augmentation, seed: int) -> Tensor:
    """Return an augmented copy, the same for the same seed, whatever the state of torch's global generator.

    Args:
        pixels: uint8 RGB, (3, S, S), or (T, 3, S, S) for a clip, whose frames all get the same transform.
        kind: none; flip: a horizontal flip with probability 0.5; strong: the flip, and at random a crop to 80 % of the
            area or more, a change of brightness, contrast and colour by up to 20 %, blur, and JPEG of quality 40 to
            100.
        seed: seed of the random transform.
    """
    if kind == "none":
        return pixels
    # torchvision samples from torch's global generator, which dropout in this process uses too. torch.manual_seed
    # would seed every device and, while CUDA is not initialised, store a stack trace on each call.
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        for probability, transform in _transforms(kind, pixels.shape[-1]):
            if torch.rand(1) < probability:
                # Not by a call, which would look for images in nested inputs first: a fifth of the time of all.
                pixels = transform.transform(pixels, transform.make_params([pixels]))
    finally:
        torch.set_rng_state(state)
    return pixels


@cache
def _transforms(kind: Augmentation, side: int) -> list[tuple[float, v2.Transform]]:
    """Return the transforms in their order, each with its probability."""
    flip = (0.5, v2.RandomHorizontalFlip(1.0))
    if kind == "flip":
        return [flip]
    return [
        flip,
        (0.5, _ResizedCrop(side, scale=(0.8, 1.0), ratio=(0.95, 1.05), antialias=True)),
        (0.5, _ColourJitter(0.2, 0.2, 0.2, 0.05)),
        (0.3, _GaussianBlur(5, (0.1, 1.5))),
        (0.5, _Jpeg((40, 100))),
    ]


class _ColourJitter(v2.ColorJitter):
    """torchvision's, with all four changes in one pass over an image."""

    def transform(self, pixels: Tensor, params: dict[str, Any]) -> Tensor:
        """Return the pixels after the four changes in their random order."""
        factors = [params[f"{name}_factor"] for name in _CHANGES]
        changes = [(_CHANGES_OF[at], factors[at]) for at in params["fn_idx"].tolist() if factors[at] is not None]

        def change(image: np.ndarray) -> np.ndarray:
            for function, factor in changes:
                image = function(image, factor)
            return image

        return _of_images(pixels, change)


class _ResizedCrop(v2.RandomResizedCrop):
    """torchvision's, computed in fixed-point numbers; a crop is enlarged, so that there is nothing to antialias."""

    def transform(self, pixels: Tensor, params: dict[str, int]) -> Tensor:
        """Return the crop at the size of the picture."""
        rows = slice(params["top"], params["top"] + params["height"])
        columns = slice(params["left"], params["left"] + params["width"])
        height, width = self.size

        def crop(image: np.ndarray) -> np.ndarray:
            return cv2.resize(image[rows, columns], (width, height), interpolation=cv2.INTER_LINEAR_EXACT)

        return _of_images(pixels, crop)


class _Jpeg(v2.JPEG):
    """torchvision's, by OpenCV's copy of the same library: the same pixels."""

    def transform(self, pixels: Tensor, params: dict[str, int]) -> Tensor:
        """Return the pixels after JPEG."""
        options = [cv2.IMWRITE_JPEG_QUALITY, params["quality"]]

        def encoded(image: np.ndarray) -> np.ndarray:
            _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
            return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)

        return _of_images(pixels, encoded)


class _GaussianBlur(v2.GaussianBlur):
    """torchvision's, computed in fixed-point numbers."""

    def transform(self, pixels: Tensor, params: dict[str, Any]) -> Tensor:
        """Return the blurred pixels."""
        (across, down), size = params["sigma"], self.kernel_size
        return _of_images(
            pixels, lambda image: cv2.GaussianBlur(image, size, across, None, down, cv2.BORDER_REFLECT_101)
        )


def _of_images(pixels: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Apply a function of an (S, S, 3) image to (3, S, S) or (T, 3, S, S) pixels; they stay channels-last in memory."""
    if pixels.ndim == 4:
        return torch.stack([_of_images(image, change) for image in pixels])
    image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    return torch.from_numpy(change(image)).permute(2, 0, 1)


def _brightened(image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.LUT(image, _table(_SHADES * np.float32(factor)))


def _contrasted(image: np.ndarray, factor: float) -> np.ndarray:
    """Return an image moved from its mean grey by a factor."""
    mean = np.float32(cv2.mean(_grey(image))[0])
    return cv2.LUT(image, _table(_SHADES * np.float32(factor) + mean * np.float32(1 - factor)))


def _saturated(image: np.ndarray, factor: float) -> np.ndarray:
    """Return an image whose pixels are moved from their grey by a factor."""
    mixed = np.tile(np.float32(1 - factor) * _LUMA, (3, 1)) + np.eye(3, dtype=np.float32) * np.float32(factor)
    # torchvision drops the fraction of a level, OpenCV rounds it.
    return cv2.transform(image, np.column_stack([mixed, np.full(3, -0.5, np.float32)]))


def _turned_hue(image: np.ndarray, factor: float) -> np.ndarray:
    """Return an image with its hue turned by a fraction of the circle."""
    # In float32: OpenCV's uint8 hue has steps of 2 degrees. Its conversion takes a hue of 360 degrees or more.
    levels: NDArray[np.float32] = image * np.float32(1 / 255)
    colours: NDArray[Any] = cv2.cvtColor(levels, cv2.COLOR_RGB2HSV)
    colours[..., 0] += np.float32(360 * (factor % 1))
    return (cv2.cvtColor(colours, cv2.COLOR_HSV2RGB) * np.float32(_LEVELS)).astype(np.uint8)


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.transform(image, np.append(_LUMA, np.float32(-0.5))[None])


def _table(levels: np.ndarray) -> np.ndarray:
    return np.clip(levels, 0, 255).astype(np.uint8)


#: In the order in which v2.ColorJitter numbers them.
_CHANGES_OF = (_brightened, _contrasted, _saturated, _turned_hue)
