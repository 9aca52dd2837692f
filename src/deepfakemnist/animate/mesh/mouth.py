"""Inside of the mouth: the source's own where it shows one, else the driver's or a drawn one between its lips."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animate.mesh.rendering import Picture
from deepfakemnist.animate.mesh.tracking import Points
from deepfakemnist.animate.mesh.transfer import LIPS
from deepfakemnist.faces.landmark_sets import INNER_LIPS, MOUTH_CORNERS

#: Size of a stored mouth, pixels, and what it shows: so many mouth widths across.
HEIGHT, WIDTH = 48, 64
_SHOWN = 1.25
#: A source whose mouth is open this wide, relative to its width, shows what is inside; below the first, nothing.
_CLOSED, _OPEN = 0.08, 0.14
#: What it shows is stretched with the opening, up to this ratio of the source's; from the second, the driver's shows.
_STRETCHED = 1.4, 2.2
#: Opening beyond the source's at which the driver's mouth begins to show, and from which it shows alone.
_BEGINS, _SHOWS = 0.015, 0.06
#: Soft edge of the inside, pixels at a face of 256.
_SOFT = 0.7
#: Largest gain by which the driver's mouth is made as light as the source's face, and its inverse.
_MAX_GAIN = 1.8
#: A drawn mouth, in mouth widths: length of the upper teeth, how far the row rises to its sides, half its width, height
#: of the tongue.
_TEETH, _ARCH, _ROW, _TONGUE = 0.12, 0.15, 0.4, 0.16
#: Its colours beside skin of the last one.
_CAVITY, _TONGUE_COLOUR = np.array([48.0, 22, 22]), np.array([140.0, 72, 70])
_TEETH_COLOUR, _SKIN_COLOUR = np.array([196.0, 184, 168]), np.array([200, 155, 135], np.float32)
#: Inner lips from the right corner to the left one.
_UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
#: Skin around the mouth and nose, by whose colour it is measured.
_SKIN = (50, 280, 117, 346, 205, 425, 4)


def opening(points: Points) -> float:
    """Return the height of the mouth's opening relative to its width, of (478, 3) landmarks."""
    gaps = [np.linalg.norm(points[one] - points[other]) for one, other in LIPS[:3]]
    return float(np.mean(gaps) / max(float(np.linalg.norm(points[MOUTH_CORNERS[0]] - points[MOUTH_CORNERS[1]])), 1e-6))


def drivers_share(source: float, frame: float) -> float:
    """Return the opacity, 0..1, of the driver's mouth between the source's lips.

    Args:
        source: opening of the source's mouth.
        frame: opening in the frame.
    """
    closed = np.clip((_OPEN - source) / (_OPEN - _CLOSED), 0, 1)
    stretched = np.clip((frame / max(source, 1e-3) - _STRETCHED[0]) / (_STRETCHED[1] - _STRETCHED[0]), 0, 1)
    return float(max(closed, stretched) * np.clip((frame - source - _BEGINS) / (_SHOWS - _BEGINS), 0, 1))


def mouth_picture(frame: Picture, points: Points) -> Picture:
    """Return the mouth of a driver's frame, upright, (HEIGHT, WIDTH, 3) uint8 RGB."""
    matrix = _to_stored(points)
    return np.asarray(cv2.warpAffine(frame, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=1), np.uint8)


def skin_colour(frame: Picture, points: Points) -> NDArray[np.float32]:
    """Return the mean colour (3,) of the cheeks and nose of a face, 0..255."""
    mask = np.zeros(frame.shape[:2], np.uint8)
    hull = cv2.convexHull(np.round(points[list(_SKIN), :2]).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 255)
    return np.array(cv2.mean(frame, mask)[:3], np.float32)


@dataclass(frozen=True, eq=False)
class DriverMouth:
    """A driver's mouth in one frame."""

    picture: Picture
    """From :func:`mouth_picture`."""
    skin: NDArray[np.float32]
    """From :func:`skin_colour`."""
    points: Points
    """(478, 3) landmarks in the driver's frame, pixels."""


def synthetic_mouth(points: Points) -> DriverMouth:
    """Return a drawn mouth, without anyone's pixels: upper teeth below the upper lip, a tongue, and the dark between.

    Args:
        points: (478, 3) landmarks in the frame that it is for, pixels.
    """
    matrix = _to_stored(points)
    stored = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    x, y = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    upper, lower = (np.interp(x, *stored[list(lip)].T) for lip in (_UPPER_LIP, _LOWER_LIP))
    width = WIDTH / _SHOWN
    # Both in mouth widths; the soft edge is two stored pixels wide.
    middle, above, soft = stored[list(INNER_LIPS), 0].mean(), (lower - y) / width, 2 / width
    beside = np.abs(x - middle) / width
    # Their edges lie on a line, however the lip arches.
    edge = np.interp(middle, x, upper) + (_TEETH - _ARCH * beside**2) * width
    teeth = np.clip((edge - y) / width / soft, 0, 1) * np.clip((_ROW - beside) / soft, 0, 1)
    tongue = np.clip((_TONGUE - beside**2 - above) / (2 * soft), 0, 1)
    picture = np.full((HEIGHT, WIDTH, 3), _CAVITY)
    for share, colour in ((tongue, _TONGUE_COLOUR), (teeth, _TEETH_COLOUR)):
        # Light falls off towards the corners.
        picture += (share * (1 - 1.2 * beside**2))[..., None] * (colour - picture)
    return DriverMouth(np.clip(np.round(picture), 0, 255).astype(np.uint8), _SKIN_COLOUR, points)


def fill(
    frame: NDArray[np.float32], points: Points, skin: NDArray[np.float32], driver: DriverMouth, share: float
) -> None:
    """Paint the driver's mouth between the lips of a frame, in place.

    Args:
        frame: (H, W, 3) 0..255.
        points: (478, 3) landmarks in the frame.
        skin: colour of the source's skin.
        driver: the mouth.
        share: 0..1, opacity.
    """
    height, width = frame.shape[:2]
    lips = points[list(INNER_LIPS), :2]
    low = np.maximum(np.floor(lips.min(axis=0)).astype(int) - 3, 0)
    high = np.minimum(np.ceil(lips.max(axis=0)).astype(int) + 4, (width, height))
    if (high <= low).any():
        return
    local = lips - low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    fine = np.zeros((size[1] * 4, size[0] * 4), np.uint8)
    cv2.fillPoly(fine, [np.round((local + 0.5) * 4 - 0.5).astype(np.int32)], 255)
    inside = cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    sigma = _SOFT * min(height, width) / 256
    inside = np.asarray(cv2.GaussianBlur(inside, (0, 0), sigma) * share, np.float32)
    stored = driver.points[list(INNER_LIPS), :2] @ _to_stored(driver.points)[:, :2].T + _to_stored(driver.points)[:, 2]
    known = np.column_stack([stored, np.ones(len(stored))])
    matrix = np.linalg.lstsq(known, local, rcond=None)[0].T
    mouth = cv2.warpAffine(driver.picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    gain = np.clip(skin / np.maximum(driver.skin, 1), 1 / _MAX_GAIN, _MAX_GAIN)
    lit = np.clip(mouth.astype(np.float32) * gain, 0, 255)
    part = frame[low[1] : high[1], low[0] : high[0]]
    part += inside[..., None] * (lit - part)


def _to_stored(points: Points) -> NDArray[np.float64]:
    """Return the (2, 3) similarity from a frame to the stored mouth."""
    right, left = points[MOUTH_CORNERS[0], :2], points[MOUTH_CORNERS[1], :2]
    across = (left - right) * (_SHOWN / WIDTH)
    forward = np.array([[across[0], -across[1]], [across[1], across[0]]])
    backward = np.linalg.inv(forward)
    middle = points[list(INNER_LIPS), :2].mean(axis=0)
    return np.column_stack([backward, np.array([WIDTH, HEIGHT]) / 2 - 0.5 - backward @ middle])
