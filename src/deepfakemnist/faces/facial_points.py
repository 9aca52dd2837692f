"""Facial landmarks for keypoint supervision, and eye and mouth regions for loss weighting.

Unsupervised keypoints follow the head first, because it moves the most pixels; a small model trained for an hour never
gets to eyelids and lips. The points of a landmark detector show it where these are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Name and MediaPipe index of each point; left and right are the subject's own. Keypoint i is pulled to point i, so the
#: order is by importance: what opens and closes, what turns with the head, then the rest.
FACIAL_POINTS: tuple[tuple[str, int], ...] = (
    ("right upper lid", 159),
    ("right lower lid", 145),
    ("left upper lid", 386),
    ("left lower lid", 374),
    ("upper lip, inside", 13),
    ("lower lip, inside", 14),
    ("right mouth corner", 61),
    ("left mouth corner", 291),
    ("nose tip", 1),
    ("chin", 152),
    ("right brow", 105),
    ("left brow", 334),
    ("right side of the face", 234),
    ("left side of the face", 454),
    ("forehead", 10),
    ("right iris", 468),
    ("left iris", 473),
    ("right outer eye corner", 33),
    ("right inner eye corner", 133),
    ("left outer eye corner", 263),
    ("left inner eye corner", 362),
)
_INDICES = [index for _, index in FACIAL_POINTS]
_NAMES = [name for name, _ in FACIAL_POINTS]

#: Index of each point after horizontal flipping: the right eye becomes a left one.
MIRRORED = [
    _NAMES.index(name.replace("right", "left") if name.startswith("right") else name.replace("left", "right"))
    for name in _NAMES
]

#: Pairs of points whose distance is the opening of an eye or the mouth.
APERTURES = ((0, 1), (2, 3), (4, 5), (6, 7))

#: Points around each region of a face.
Regions = tuple[list[int], ...]
EYE_REGIONS: Regions = ([0, 1, 17, 18], [2, 3, 19, 20])
#: The eyes and the mouth.
FACE_REGIONS: Regions = (*EYE_REGIONS, [4, 5, 6, 7])
#: Radius of a region relative to the distance of its points from the centre, so that it includes lips and lashes.
_REACH = 1.3


def find_facial_points(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (T, P, 2) pixels of ``FACIAL_POINTS`` in frames (T, H, W, 3) uint8 RGB; NaN where no face is found."""
    # Deferred, because training works without a landmark detector installed.
    from deepfakemnist.faces.landmarks import FaceLandmarker

    landmarker = FaceLandmarker()
    found = np.full((len(frames), len(FACIAL_POINTS), 2), np.nan, np.float32)
    for i, frame in enumerate(frames):
        if (face := landmarker(frame)) is not None:
            found[i] = face.points[_INDICES]
    return found


def detail_map(points: Tensor, height: int, width: int, regions: Regions = FACE_REGIONS) -> Tensor:
    """Return (B, 1, height, width) weights of about 1 inside the regions and 0 elsewhere.

    Args:
        points: (B, P, 2) ``FACIAL_POINTS`` in -1..1; items with NaN get zeros.
        height: of the maps.
        width: of the maps.
        regions: indices of the points around each region.
    """
    x = torch.linspace(-1, 1, width, device=points.device)
    y = torch.linspace(-1, 1, height, device=points.device)
    weights = points.new_zeros(len(points), height, width)
    for region in regions:
        corners = points[:, region]
        centre = corners.mean(dim=1)
        radius = _REACH * (corners - centre[:, None]).norm(dim=-1).amax(dim=1)
        distance = (x - centre[:, None, :1]).square() + (y[:, None] - centre[:, 1:, None]).square()
        bump = torch.exp(-((distance / radius[:, None, None].square()).square()))  # flat inside, steep at the radius
        weights = torch.maximum(weights, bump.nan_to_num(0.0))
    return weights[:, None]
