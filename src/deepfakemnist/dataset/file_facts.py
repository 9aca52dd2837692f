"""File metadata, packet sizes and simple image statistics of a video: the features of the confound audit.

The project's own synthetic-media marks are left out: they reveal the class on purpose, are stored outside the coded
pictures and reach no detector. Everything else counts, whether or not the project wrote it.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from deepfakemnist.media.boxes import boxes
from deepfakemnist.media.encoder_notes import encoder_note
from deepfakemnist.media.marks import NOTICE

Fact = float | str
_MARK_BOXES = {b"uuid", b"free"}
#: Edges of the spectral bands, as fractions of the Nyquist frequency.
_BANDS = np.linspace(0, 1, 9)
#: Names of the facts.
CONTAINER_NUMBERS = ("frames", "fps", "seconds", "width", "height", "key frames")
CONTAINER_TEXTS = ("streams", "boxes", "tags", "codec", "colours", "time base", "encoder's note")
SIZES = ("coded bytes", "bytes per frame", "first frame", "largest share", "spread")
BRIGHTNESS = ("brightness",)
PICTURES = (
    *(f"{what} {channel}" for what in ("mean", "spread") for channel in "RGB"),
    "sharpness",
    "gradient",
    *(f"band {low:.2f}" for low in _BANDS[:-1]),
)
#: Side in pixels to which pictures are resized before their statistics are computed.
_SIDE = 128


def container_facts(path: Path) -> dict[str, Fact]:
    """Return container metadata and the encoder's note, none of which may depend on the class.

    Numbers: frames, frames per second, seconds, width, height, key frames. Strings: streams, order of boxes, tags,
    codec, profile, pixel format, colour tags, time base, the encoder's note.
    """
    with av.open(str(path.absolute())) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        tags = {key: value for key, value in container.metadata.items() if not value.startswith(NOTICE)}
        packets = [packet for packet in container.demux(stream) if packet.size]
        return {
            "frames": float(len(packets)),
            "fps": float(stream.average_rate or 0),
            "seconds": float((stream.duration or 0) * (stream.time_base or 0)),
            "width": float(codec.width),
            "height": float(codec.height),
            "key frames": float(sum(packet.is_keyframe for packet in packets)),
            "streams": " ".join(other.type for other in container.streams),
            "boxes": _boxes(path),
            "tags": str(sorted((tags | stream.metadata).items())),
            "codec": f"{codec.name} {codec.profile} {codec.pix_fmt}",
            "colours": f"{codec.colorspace} {codec.color_primaries} {codec.color_trc} {codec.color_range}",
            "time base": str(stream.time_base),
            "encoder's note": encoder_note(path),
        }


def size_facts(path: Path) -> dict[str, Fact]:
    """Return statistics of packet sizes, which follow from image content and may therefore differ by class."""
    with av.open(str(path.absolute())) as container:
        sizes = np.array([packet.size for packet in container.demux(video=0) if packet.size], dtype=float)
    return {
        "coded bytes": float(sizes.sum()),
        "bytes per frame": float(sizes.mean()),
        "first frame": float(sizes[0]),
        "largest share": float(sizes.max() / sizes.sum()),
        "spread": float(sizes[1:].std() / sizes.mean()) if len(sizes) > 1 else 0.0,
    }


def picture_facts(pictures: list[np.ndarray]) -> dict[str, Fact]:
    """Return simple image statistics, averaged over pictures, each (H,W,3) uint8 RGB."""
    found = [_picture_facts(cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)) for picture in pictures]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def brightness(pictures: list[np.ndarray]) -> dict[str, Fact]:
    """Return the mean pixel value of the pictures, 0..255."""
    return {"brightness": float(np.mean([picture.mean() for picture in pictures]))}


def _picture_facts(picture: np.ndarray) -> dict[str, float]:
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    means, spreads = picture.mean((0, 1)), picture.std((0, 1))
    facts = {f"mean {name}": float(value) for name, value in zip("RGB", means, strict=True)}
    facts |= {f"spread {name}": float(value) for name, value in zip("RGB", spreads, strict=True)}
    facts["sharpness"] = float(cv2.Laplacian(luma, cv2.CV_32F).var())
    facts["gradient"] = float(np.hypot(cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)).mean())
    power = np.abs(np.fft.fftshift(np.fft.fft2(luma))) ** 2
    y, x = np.mgrid[-_SIDE // 2 : _SIDE // 2, -_SIDE // 2 : _SIDE // 2] / (_SIDE / 2)
    radius = np.hypot(x, y)
    for low, high in pairwise(_BANDS):
        facts[f"band {low:.2f}"] = float(np.log1p(power[(radius >= low) & (radius < high)].mean()))
    return facts


def _boxes(path: Path) -> str:
    try:
        kinds = [box.kind for box in boxes(path.read_bytes())]
    except ValueError:
        return "not an MP4"
    return " ".join(kind.decode("latin-1") for kind in kinds if kind not in _MARK_BOXES)
