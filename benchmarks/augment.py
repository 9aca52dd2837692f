"""Training augmentation benchmark: CPU cost per picture relative to DeepfakeBench's default augmentation.

    python benchmarks/augment.py            prints the table and writes benchmarks/augment.json

Reference: the transforms of DeepfakeBench's training/dataset/abstract_dataset.py with the values of its
training/config/detector/xception.yaml (commit 64366cf), which rotates nothing, and with those of its other detectors,
which rotate half of the pictures. Without reading, resizing and normalisation, which both have besides. Needs the
package it uses: pip install albumentations==1.3.1
Pictures: parts of a portrait shipped by scikit-image, 256 pixels wide. CPU milliseconds, median of the repeats.
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from cpu_time import cpu_seconds
from skimage.data import astronaut

from deepfakemnist.training.augment import augment

PICTURES, REPEATS, SIDE = 400, 7, 256


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    portrait = astronaut()
    images = [np.ascontiguousarray(portrait[at : at + SIDE, at : at + SIDE]) for at in range(0, 200, 2)]
    pixels = [torch.from_numpy(image).permute(2, 0, 1) for image in images]  # channels-last, as in the data loader
    without, rotating = deepfakebench(0.0), deepfakebench(0.5)
    workloads: dict[str, Callable[[int], object]] = {
        "DeepfakeBench, Xception": lambda seed: without(image=images[seed % len(images)]),
        "DeepfakeBench, other detectors": lambda seed: rotating(image=images[seed % len(images)]),
        "strong": lambda seed: augment(pixels[seed % len(images)], "strong", seed),
        "flip": lambda seed: augment(pixels[seed % len(images)], "flip", seed),
    }
    times: dict[str, list[float]] = {name: [] for name in workloads}
    for _ in range(REPEATS):  # interleaved, so that background load affects all rows equally
        for name, work in workloads.items():
            times[name].append(cpu_seconds(lambda work=work: [work(seed) for seed in range(PICTURES)]) / PICTURES)
    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = medians["DeepfakeBench, Xception"]
    result = {
        "what": "CPU cost of augmenting a picture, relative to DeepfakeBench's default",
        "side": SIDE,
        "repeats": REPEATS,
        "cpu_ms": {name: round(1000 * value, 2) for name, value in medians.items()},
        "ratio": {name: round(value / reference, 2) for name, value in medians.items()},
    }
    print(json.dumps(result, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def deepfakebench(rotated: float) -> Callable[..., object]:
    """Return its augmentation with the given probability of a rotation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import albumentations

    return albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Rotate(limit=[-10, 10], p=rotated),
            albumentations.GaussianBlur(blur_limit=[3, 7], p=0.5),
            albumentations.OneOf(
                [
                    albumentations.RandomBrightnessContrast(brightness_limit=[-0.1, 0.1], contrast_limit=[-0.1, 0.1]),
                    albumentations.FancyPCA(),
                    albumentations.HueSaturationValue(),
                ],
                p=0.5,
            ),
            albumentations.ImageCompression(quality_lower=40, quality_upper=100, p=0.5),
        ]
    )


if __name__ == "__main__":
    main()
