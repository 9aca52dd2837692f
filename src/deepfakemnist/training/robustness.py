"""Robustness to perturbations: JPEG, resizing, blur, noise and H.264 at five levels, applied to test frames."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from deepfakemnist.config.perturbations import LEVELS, perturbed_name
from deepfakemnist.dataset.training_sets import resplit
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.media.colour import to_samples
from deepfakemnist.media.encode import DETERMINISTIC_X264
from deepfakemnist.media.picture import Picture, resized
from deepfakemnist.tables.files import read_table
from deepfakemnist.training.checkpoint import load_checkpoint
from deepfakemnist.training.data import read_index
from deepfakemnist.training.predict import LISTED, predict_logits, videos_without_frames, write_predictions

Pixels = NDArray[np.uint8]


def perturb(image: Pixels, kind: str, level: float, seed: int) -> Pixels:
    """Return a perturbed copy.

    Args:
        image: (H, W, 3) uint8 RGB.
        kind: perturbation, a key of LEVELS.
        level: strength, see LEVELS.
        seed: seed of the noise.
    """
    height, width = image.shape[:2]
    if kind == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(level))
        return np.array(Image.open(buffer).convert("RGB"))
    if kind == "resize":
        small = (max(1, round(width * level)), max(1, round(height * level)))
        return resized(resized(image, *small), width, height)
    if kind == "blur":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), level), np.uint8)
    if kind == "noise":
        noise = np.random.default_rng(seed).normal(0.0, level, image.shape)
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    if kind == "h264":
        return _h264(image, int(level))
    raise ConfigError(f"unknown perturbation {kind!r}; allowed: {', '.join(LEVELS)}")


def predict_perturbed(
    index: Path | str,
    videos: Path | str,
    checkpoint: Path | str,
    table: Path | str,
    quality: str,
    kinds: Sequence[str],
    device: str = "auto",
    workers: int = 0,
) -> None:
    """Write tables.PREDICTIONS of the test frames of a quality under every level of every perturbation.

    Test is that of the split that the detector was trained with. The column quality names both: ``raw+jpeg50`` are raw
    frames re-encoded as JPEG of quality 50. A clip without frames is a row at every level, as in training.predict, so
    that the levels are comparable with the unperturbed frames.

    Args:
        index: table with tables.FRAME_INDEX.
        videos: table with tables.VIDEOS.
        checkpoint: written by training.loop.train_detector.
        table: file to write.
        quality: quality of the frames.
        kinds: perturbations, keys of LEVELS.
        device: auto, cpu or cuda.
        workers: processes that decode and perturb frames; 0 does so in this one.

    Raises: ConfigError for an unknown perturbation, and when test has no frames of the quality.
    """
    target = choose_device(device)
    trained = load_checkpoint(checkpoint, target)
    frames, listed = (
        resplit(rows, trained.trained_on) for rows in (read_index(index, videos), read_table(videos, LISTED))
    )
    frames, listed = (
        rows.filter(pc.and_(pc.equal(rows["split"], "test"), pc.equal(rows["quality"], quality)))
        for rows in (frames, listed)
    )
    if not frames.num_rows:
        raise ConfigError(f"{index} has no test frames of quality {quality}")
    column = frames.schema.get_field_index("quality")
    unscored = videos_without_frames(listed, frames)
    parts, logits, others = [], [], []
    for kind in kinds:
        for level in LEVELS[kind]:
            transform = partial(_perturb_frame, kind=kind, level=level)
            logits.append(predict_logits(trained.detector, frames, target, workers, transform))
            name = perturbed_name(quality, kind, level)
            parts.append(frames.set_column(column, "quality", pa.array([name] * frames.num_rows)))
            others += [{**row, "quality": name} for row in unscored]
    write_predictions(table, trained, pa.concat_tables(parts), np.concatenate(logits), others)


def _perturb_frame(image: Pixels, name: str, kind: str, level: float) -> Pixels:
    return perturb(image, kind, level, seed_from(name, kind, level))


def _h264(image: Pixels, crf: int) -> Pixels:
    """Encode one frame as H.264 at a crf and decode it; odd sides are padded to even ones by repeating the edge."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = even.shape[1], even.shape[0]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(crf), "threads": "1", **DETERMINISTIC_X264}
    (samples,) = to_samples([even], "yuv420p")
    frame = av.VideoFrame.from_ndarray(samples.reshape(-1, even.shape[1]), format="yuv420p")
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + list(decoder.decode(None))
    return np.ascontiguousarray(Picture(decoded[0]).rgb()[:height, :width])
