"""Sample sheets: contact sheets of animated pairs for monitoring training progress."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Keypoints
from deepfakemnist.animate.training.pair_batches import Pairs
from deepfakemnist.tables.files import atomic_path

_DOT = 2


@torch.inference_mode()
def sample_sheet(networks: FirstOrderMotionModel, pairs: Pairs) -> NDArray[np.uint8]:
    """Return an image with one row per pair, (rows × H, 5 × W, 3) uint8 RGB.

    Columns: source and driving frame with their keypoints, the animation, the occlusion map (white: from the source,
    black: inpainted), and the source of the next row animated by the motion of this row, i.e. cross-identity animation.
    """
    was_training = networks.training
    networks.eval()
    generator = networks.generator
    of_source, of_driving = networks.kp_detector(pairs.source), networks.kp_detector(pairs.driving)
    encoded = generator.encode(pairs.source)
    motion = generator.motion(encoded, of_source, of_driving)
    occlusion = torch.ones_like(pairs.source) if motion.occlusion is None else motion.occlusion
    occlusion = torch.nn.functional.interpolate(occlusion, size=pairs.source.shape[-2:]).expand_as(pairs.source)

    others = Keypoints(*(part.roll(-1, dims=0) for part in of_source))
    transferred = Keypoints(
        others.value + of_driving.value - of_source.value,
        of_driving.jacobian @ torch.linalg.inv(of_source.jacobian) @ others.jacobian,
    )
    cells = [
        _with_dots(pairs.source, of_source.value),
        _with_dots(pairs.driving, of_driving.value),
        generator.decode(encoded, motion),
        occlusion,
        generator(pairs.source.roll(-1, dims=0), others, transferred),
    ]
    networks.train(was_training)
    rows = torch.cat(cells, dim=3).permute(0, 2, 3, 1).flatten(0, 1)
    return (255 * rows.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image atomically."""
    # Imported here, because training itself does not need OpenCV.
    import cv2

    with atomic_path(path) as part:
        if not cv2.imwrite(str(part), image[..., ::-1]):
            raise OSError(f"{path}: OpenCV failed to write the image")


def _with_dots(images: Tensor, keypoints: Tensor) -> Tensor:
    """Draw keypoints (B, K, 2) as squares, from red for the first to blue for the last."""
    marked = images.clone()
    height, width = images.shape[-2:]
    count = keypoints.shape[1]
    for image, points in zip(marked, keypoints, strict=True):
        for k, (x, y) in enumerate(points.tolist()):
            column, row = round((x + 1) / 2 * (width - 1)), round((y + 1) / 2 * (height - 1))
            share = k / max(1, count - 1)
            colour = torch.tensor([1 - share, 1 - abs(2 * share - 1), share], device=images.device)
            rows = slice(max(0, row - _DOT + 1), max(0, row + _DOT))
            columns = slice(max(0, column - _DOT + 1), max(0, column + _DOT))
            image[:, rows, columns] = colour[:, None, None]
    return marked
