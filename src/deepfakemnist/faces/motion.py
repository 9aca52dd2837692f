"""Non-rigid face motion, which frozen pictures and filmed photographs lack.

A photograph in front of a moving camera changes by a homography, and codec noise by little and only where there is
hardly any texture. What remains of the optical flow without both is a blink, speech, or a head that turns.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepfakemnist.faces.track import Box

#: Side of the compared face patches, pixels; that of a patch relative to the longer side of the face box.
_SIDE, _MARGIN = 128, 1.15
#: Half axes of the ellipse that holds the face, as fractions of the patch: no background, which moves by itself.
_ELLIPSE = (0.36, 0.43)
#: Seconds between compared frames: a blink or a syllable, and a slow turn of the head.
_LAGS = (0.2, 0.8)
#: At most this many pairs of frames per lag, evenly spread: 13 ms each.
_MAX_PAIRS = 10
#: Standard deviation to which a patch's contrast is normalised, grey levels, and the largest gain.
_CONTRAST, _MAX_GAIN = 45.0, 3.0
#: Smaller eigenvalue of the structure tensor at which flow counts half, (grey levels per pixel)²: that of codec noise.
_TEXTURE = 10.0
_SMOOTHING = (9, 9)
#: RANSAC: pixels of flow that still agree with a homography; every n-th pixel takes part.
_AGREEMENT, _STRIDE = 0.75, 4
#: Of the pixels of a face, of the pairs of a clip.
_PIXEL_PERCENTILE, _PAIR_PERCENTILE = 99, 90


def sampling_step(fps: float) -> int:
    """Return the number of frames between the patches that :func:`nonrigid_motion` expects."""
    return max(1, round(_LAGS[0] * fps))


def face_patch(crop: np.ndarray, box: Box) -> np.ndarray:
    """Return the face as (128,128) uint8 grey, with normalised contrast.

    Args:
        crop: (H,W,3) uint8 RGB.
        box: left, top, width, height of the face in its pixels.
    """
    left, top, width, height = box
    scale = _SIDE / (_MARGIN * max(width, height))
    place = np.array(
        [[scale, 0, _SIDE / 2 - scale * (left + width / 2)], [0, scale, _SIDE / 2 - scale * (top + height / 2)]]
    )
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    patch = cv2.warpAffine(grey, place, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(patch, mask=_FACE.astype(np.uint8)))
    gain = min(_CONTRAST / max(deviation, 1.0), _MAX_GAIN)
    return np.clip((patch - mean) * gain + 128, 0, 255).astype(np.uint8)


def nonrigid_motion(patches: Sequence[np.ndarray]) -> float | None:
    """Return how far a face moves within itself, in percent of its side; None for fewer than two patches.

    Between two frames: the 99th percentile, over the face, of the optical flow left by the best homography, weighted
    by texture. Of a clip: the 90th percentile over pairs of frames 0.2 s apart or 0.8 s apart, whichever is larger.

    Args:
        patches: :func:`face_patch` of every n-th frame, n being :func:`sampling_step`.
    """
    found = []
    for lag in dict.fromkeys(round(lag / _LAGS[0]) for lag in _LAGS):
        count = len(patches) - lag
        if count < 1:
            continue
        starts = sorted({int(start) for start in np.linspace(0, count - 1, min(count, _MAX_PAIRS))})
        residuals = [_residual_flow(patches[start], patches[start + lag]) for start in starts]
        found.append(float(np.percentile(residuals, _PAIR_PERCENTILE)) / _SIDE * 100)
    return max(found, default=None)


def _residual_flow(first: np.ndarray, second: np.ndarray) -> float:
    """Return the 99th percentile of the flow that no homography explains, pixels of the patch."""
    coarse = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    fine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    homography = np.eye(3)
    # Flow is most exact where little is left of it.
    for method in (coarse, fine):
        homography = homography @ _homography(_flow(method, first, _warped(second, homography)))
    flow = cv2.blur(_flow(fine, first, _warped(second, homography)), _SMOOTHING)
    texture = _texture(first)
    weighted = np.hypot(flow[..., 0], flow[..., 1]) * texture / (texture + _TEXTURE)
    return float(np.percentile(weighted[_FACE], _PIXEL_PERCENTILE))


def _flow(method: cv2.DISOpticalFlow, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return method.calc(first, second, None)  # type: ignore[call-overload]


def _warped(patch: np.ndarray, homography: np.ndarray) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(patch, homography, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _homography(flow: np.ndarray) -> np.ndarray:
    start = np.stack(np.meshgrid(_GRID, _GRID), axis=-1)[_FACE[_GRID][:, _GRID]].astype(np.float32)
    end = start + flow[start[:, 1].astype(int), start[:, 0].astype(int)]
    found, _ = cv2.findHomography(start, end, cv2.RANSAC, _AGREEMENT, maxIters=300)
    return np.eye(3) if found is None else found


def _texture(patch: np.ndarray) -> np.ndarray:
    """Return the smaller eigenvalue of the structure tensor per pixel: 0 in flat regions and along straight edges."""
    smooth = cv2.GaussianBlur(patch, (0, 0), 1).astype(np.float32)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    xx, xy, yy = (cv2.blur(product, _SMOOTHING) for product in (across * across, across * down, down * down))
    return (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)


def _ellipse() -> np.ndarray:
    y, x = (np.mgrid[:_SIDE, :_SIDE] + 0.5) / _SIDE - 0.5
    return (x / _ELLIPSE[0]) ** 2 + (y / _ELLIPSE[1]) ** 2 < 1


_FACE = _ellipse()
_GRID = np.arange(_STRIDE // 2, _SIDE, _STRIDE)
