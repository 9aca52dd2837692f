"""Inference of a trained detector on the frames of val and test."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from deepfakemnist.config.training_sets import parse_training_set
from deepfakemnist.dataset.training_sets import resplit
from deepfakemnist.detectors.base import Detector
from deepfakemnist.devices.reduced_precision import deterministic_cudnn
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import PREDICTIONS
from deepfakemnist.tables.files import read_table, write_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.training.checkpoint import Checkpoint, load_checkpoint
from deepfakemnist.training.data import FrameDataset, FrameTransform, make_loader, read_index

log = logging.getLogger(__name__)

_BATCH_SIZE = 64
#: Columns of the videos that name them in predictions, and those that decide which are scored.
_NAMES = ("video_id", "label", "quality", "action", "person_id", "split")
LISTED = (*_NAMES, "driver_person_id", "split_driver", "split_paper", "fold")
_PROGRESS_EVERY_S = 30.0


def predict(
    index: Path | str,
    videos: Path | str,
    checkpoint: Path | str,
    table: Path | str,
    device: str = "auto",
    workers: int = 0,
    dataset: str | None = None,
    trained_videos: Path | str | None = None,
) -> None:
    """Write tables.PREDICTIONS for every val and test frame at every quality, whatever quality it was trained on.

    Val and test are those of the split that the detector was trained with, or of another dataset its own; without fakes
    whose driver is in another split where the training set is by driver.

    A val or test video without frames is one row with frame_index -1, logit 0 and score 0.5: it could not be scored,
    and leaving it out would flatter the detector.

    Args:
        index: table with tables.FRAME_INDEX.
        videos: table with tables.VIDEOS.
        checkpoint: written by training.loop.train_detector.
        table: file to write, sorted by split, quality, video and frame.
        device: auto, cpu or cuda.
        workers: processes that decode frames; 0 decodes in this one.
        dataset: name of another dataset, when the tables belong to one; prefixes its qualities, as in ``other:c23``.
        trained_videos: tables.VIDEOS of the detector's own dataset; people of its train split, and the drivers of a
            training set by driver, are excluded from the other dataset, and the log says how many.

    Raises: ConfigError for inconsistent tables, tables without val or test frames, and a file that is not a
    checkpoint; BadFrame, naming it, for a frame that cannot be read.
    """
    target = choose_device(device)
    trained = load_checkpoint(checkpoint, target)
    frames, listed = read_index(index, videos, of_this_run=dataset is None), read_table(videos, LISTED)
    if dataset is None:
        frames, listed = (resplit(table, trained.trained_on) for table in (frames, listed))
    scored = pa.array(["val", "test"])
    frames, listed = (table.filter(pc.is_in(table["split"], scored)) for table in (frames, listed))
    if not frames.num_rows:
        raise ConfigError(f"{index} has no frames in val or test; assign people to them (plan.test_fraction)")
    if trained_videos is not None:
        listed = _without_trained_on(listed, read_table(trained_videos, LISTED), trained.trained_on, dataset)
        frames = frames.filter(pc.is_in(frames["video_id"], listed["video_id"].combine_chunks()))
        if not frames.num_rows:
            # Of one training set among many, whose people are others: the others are evaluated all the same.
            log.warning("%s has nobody who is not in the training set; there is nothing to score", dataset)
    others = videos_without_frames(listed, frames)
    logits = predict_logits(trained.detector, frames, target, workers)
    if dataset is not None:
        others = [{**row, "quality": f"{dataset}:{row['quality']}"} for row in others]
        names = pa.array([f"{dataset}:{quality}" for quality in frames["quality"].to_pylist()])
        frames = frames.set_column(frames.schema.get_field_index("quality"), "quality", names)
    write_predictions(table, trained, frames, logits, others)


def _without_trained_on(videos: pa.Table, own: pa.Table, trained_on: str, dataset: str | None) -> pa.Table:
    """Return another dataset's videos without the people of train and, for a training set by driver, its drivers."""
    train = resplit(own, trained_on)
    train = train.filter(pc.equal(train["split"], "train"))
    columns = {"person_id": "people"}
    if parse_training_set(trained_on).by_driver:
        columns["driver_person_id"] = "drivers"
    for column, what in columns.items():
        known = pa.array(sorted(set(train[column].to_pylist()) - {None, ""}), pa.string())
        shared = pc.is_in(videos[column], known)
        if lost := len(pc.unique(videos.filter(shared)[column])):
            log.warning("%d %s of %s are in the training set under the same id; they are excluded", lost, what, dataset)
        videos = videos.filter(pc.invert(shared))
    return videos


def videos_without_frames(videos: pa.Table, frames: pa.Table) -> list[Row]:
    """Return the val and test videos (rows of tables.VIDEOS) without a frame, as rows of tables.PREDICTIONS."""
    seen = set(zip(frames["video_id"].to_pylist(), frames["quality"].to_pylist(), strict=True))
    rows = [row for row in videos.to_pylist() if row["split"] in ("val", "test")]
    lost = [row for row in rows if (row["video_id"], row["quality"]) not in seen]
    if lost:
        log.warning("%d clips have no frame to score and count as errors, e.g. %s", len(lost), lost[0]["video_id"])
    named = [{name: row[name] for name in _NAMES} for row in lost]
    return [{**row, "frame_index": -1, "logit": 0.0, "score": 0.5} for row in named]


def write_predictions(
    table: Path | str, trained: Checkpoint, frames: pa.Table, logits: NDArray[np.float32], others: list[Row]
) -> None:
    """Write tables.PREDICTIONS, sorted by split, quality, video and frame.

    Args:
        table: file to write.
        trained: the detector behind the logits.
        frames: the scored frames (N rows), see training.data.read_index.
        logits: (N,) logits of the frames.
        others: rows of videos without frames.
    """
    constant: Row = {
        "detector": trained.settings.slug,
        "trained_on": trained.trained_on,
        "seed": trained.seed,
        "checkpoint_sha256": trained.sha256,
    }
    scores = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    columns = {"logit": logits, "score": scores.astype(np.float32)}
    columns |= {
        name: pa.array([value] * frames.num_rows, PREDICTIONS.field(name).type) for name, value in constant.items()
    }
    scored_columns = [columns[name] if name in columns else frames[name] for name in PREDICTIONS.names]
    scored = pa.table(scored_columns, names=PREDICTIONS.names).cast(PREDICTIONS)
    unscored = pa.Table.from_pylist([{**row, **constant} for row in others], schema=PREDICTIONS)
    predictions = pa.concat_tables([scored, unscored])
    order = [(name, "ascending") for name in ("split", "quality", "video_id", "frame_index")]
    write_table(predictions.sort_by(order), table, PREDICTIONS)


def predict_logits(
    detector: Detector, frames: pa.Table, device: torch.device, workers: int, transform: FrameTransform | None = None
) -> NDArray[np.float32]:
    """Return the logits (N,) of frames in row order, from the detector in eval mode; ``transform``: see FrameDataset.

    Computed in float32 on every device, without TF32: bfloat16 has 8 bits of mantissa, which would tie distinct scores.

    Raises: ConfigError when a logit is not finite.
    """
    detector.eval()
    dataset = FrameDataset(frames, detector.image_size, detector.config.clip_frames, transform=transform)
    parts: list[NDArray[np.float32]] = []
    started = last_report = time.monotonic()
    with torch.inference_mode(), deterministic_cudnn(tf32=False):
        for pixels, _ in make_loader(dataset, _BATCH_SIZE, workers):
            parts.append(detector(pixels.to(device, non_blocking=True)).float().cpu().numpy())
            if time.monotonic() - last_report > _PROGRESS_EVERY_S:
                last_report = time.monotonic()
                done = sum(map(len, parts))
                rate = done / (last_report - started)
                log.info(
                    "scored %d/%d frames, %.0f/s, about %.0f s left",
                    done,
                    len(dataset),
                    rate,
                    (len(dataset) - done) / rate,
                )
    logits = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if not np.isfinite(logits).all():
        raise ConfigError(
            f"{detector.config.name} returns non-finite logits for {int((~np.isfinite(logits)).sum())} of "
            f"{len(logits)} frames: its training diverged; lower its learning_rate"
        )
    return logits
