"""RGB to YUV conversion before encoding, done in process with PyAV's scaler.

ffmpeg's own scaler was rewritten between versions: 5.1 and 9.0 convert the same RGB to different YUV, whatever the
flags (measured). PyAV's scaler comes with a pinned package, so every machine encodes the same samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

#: Bit-exact scaling: the same samples with and without SIMD.
_SCALER = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def to_samples(clip: Iterable[np.ndarray], pix_fmt: str, shrink_to: int | None = None) -> Iterator[np.ndarray]:
    """Yield the samples of each frame as ffmpeg reads them from a pipe, flat uint8.

    Args:
        clip: (H,W,3) uint8 RGB frames; even sides for yuv420p.
        pix_fmt: yuv420p, yuv444p (BT.601, limited range) or rgb24.
        shrink_to: longer side, in pixels, that each frame is downscaled to before it is upscaled to its original size.
    """
    reformat = VideoReformatter().reformat
    for picture in clip:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if shrink_to:
            longest = max(frame.width, frame.height)
            small = (frame.width * shrink_to // longest, frame.height * shrink_to // longest)
            for size in (small, (frame.width, frame.height)):
                frame = VideoReformatter().reformat(frame, *size, format="rgb24", interpolation=_SCALER, threads=1)
        if pix_fmt != "rgb24":
            frame = reformat(
                frame,
                format=pix_fmt,
                dst_colorspace=Colorspace.SMPTE170M,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=_SCALER,
                threads=1,
            )
        yield frame.to_ndarray().reshape(-1)
