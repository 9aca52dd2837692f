"""Training log per epoch: columns of history.tsv, TensorBoard events, selection of the best epoch."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from deepfakemnist.tables.schemas import Row

log = logging.getLogger(__name__)

HISTORY_COLUMNS = (
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_balanced_accuracy",
    "val_auc",
    "chosen",
)


def best_epoch(rows: Sequence[Row]) -> int:
    """Return the epoch with the highest balanced accuracy on val; ties go to the lowest loss, then to the first.

    Without val frames it is the last epoch.
    """
    if rows[-1]["val_loss"] is None:
        return len(rows)
    best = max(rows, key=lambda row: (row["val_balanced_accuracy"], -row["val_loss"]))
    epoch: int = best["epoch"]
    return epoch


def class_ratio(frames: pa.Table) -> str:
    """Return the classes of a set of frames as text: videos and frames of each, and fakes per real.

    Args:
        frames: rows with ``video_id``, ``quality`` and ``label``.
    """
    labels = frames["label"].to_numpy()
    videos = frames.group_by(["video_id", "quality"]).aggregate([("label", "min")])["label_min"].to_numpy()
    counts = [(int((videos == label).sum()), int((labels == label).sum())) for label in (1, 0)]
    (fake_videos, fakes), (real_videos, reals) = counts
    ratio = f", {fakes / reals:.2f} fake frames per real one" if reals else ""
    return f"{fakes} frames of {fake_videos} fakes, {reals} frames of {real_videos} reals{ratio}"


def summary(row: Row) -> str:
    """Return the log line of an epoch."""
    text = f"loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.3f}"
    if row["val_loss"] is not None:
        text += f"; val loss {row['val_loss']:.4f}, balanced accuracy {row['val_balanced_accuracy']:.3f}"
    return text


class TensorBoardLog:
    """TensorBoard event writer of one training; writes nothing when ``folder`` is None.

    The folder is emptied first: a resumed training writes its earlier epochs again, so that none appears twice.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self._writer = None
        if folder is None:
            return
        shutil.rmtree(folder, ignore_errors=True)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.warning("tensorboard is not installed, so no events are written; history.tsv has the same numbers")
            return
        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.close()

    def add(self, row: Row) -> None:
        """Write the scalars of an epoch: ``train_loss`` as train/loss and so on."""
        if self._writer:
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    self._writer.add_scalar(name.replace("_", "/", 1), value, row["epoch"])
            self._writer.flush()
