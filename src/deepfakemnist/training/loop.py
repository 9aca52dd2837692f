"""Training of one detector, to be read in one sitting: data, model, optimiser, epochs, the best of them kept.

On a CPU the same tables, settings and seed give the same weights, whether or not the run was interrupted. On a GPU the
order of frames, mirroring, dropout and start are the same too, but its kernels add floats in an order of their own.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from deepfakemnist.code_digest import code_digest
from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.registry import build, detector_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation import metrics
from deepfakemnist.ids import seed_from
from deepfakemnist.settings import DetectorTraining
from deepfakemnist.tables import Row
from deepfakemnist.training.checkpoint import CLASSES, ResumeFile, save_checkpoint
from deepfakemnist.training.data import BalancedSampler, FrameDataset, choose_frames, load, read_index
from deepfakemnist.training.predict import choose_device, logits_of
from deepfakemnist.tsv import write_tsv

log = logging.getLogger(__name__)

HISTORY_COLUMNS = (
    *("epoch", "learning_rate", "train_loss", "train_accuracy"),
    *("val_loss", "val_balanced_accuracy", "val_auc", "chosen"),
)
#: Share of all steps in which the learning rate rises from nothing, so that fresh norms settle first.
_WARM_UP = 0.05
_PROGRESS_EVERY_S = 30.0


def train_detector(
    index: Path | str,
    videos: Path | str,
    checkpoint: Path | str,
    history: Path | str,
    settings: DetectorTraining,
    trained_on: str,
    seed: int,
    device: str = "auto",
    workers: int = 0,
) -> None:
    """Train a detector on the train frames of a quality and keep the epoch that does best on val.

    Best is the highest balanced accuracy over val frames of the same quality, then the lowest loss; test frames are
    never read. Without val frames the last epoch is kept, and the log says so. After each epoch the full state is
    written to ``checkpoint`` + ``.resume``, from which a killed run goes on; the file is removed at the end.

    Args:
        index: table with tables.FRAME_INDEX.
        videos: table with tables.VIDEOS.
        checkpoint: file to write, see training.checkpoint.
        history: TSV to write, one row per epoch; ``chosen`` is 1 for the epoch that was kept.
        settings: detector and recipe.
        trained_on: quality to train on, or ``mixed`` for all of them.
        seed: of start, order, mirroring and dropout.
        device: auto, cpu or cuda.
        workers: processes that decode frames; 0 decodes in this one.

    Raises: ConfigError when train has no frames, train or val has frames of one class only, the tables do not fit
    together, or training diverges; BadFrame, naming it, for a frame that cannot be read.
    """
    target = choose_device(device)
    frames = read_index(index, videos)
    train, val = (choose_frames(frames, split, trained_on) for split in ("train", "val"))
    _check_classes(train, val, trained_on)
    _check_size(settings)

    torch.manual_seed(seed_from(seed, "start"))
    detector = build(settings.name, settings.weights, settings.image_size).to(target)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    dataset = FrameDataset(train, detector.image_size)
    sampler = BalancedSampler(dataset.labels, seed)
    batches = load(dataset, settings.batch_size, workers, sampler)
    log.info(
        "%s, %s, seed %d: %d train and %d val frames, %d epochs of %d steps on %s",
        *(settings.name, trained_on, seed, train.num_rows, val.num_rows, settings.epochs, len(batches), target),
    )

    rows: list[Row] = []
    best: dict[str, Tensor] = {}
    resume = ResumeFile(checkpoint, _mark(index, videos, settings, trained_on, seed))
    if state := resume.read(target):
        detector.load_state_dict(state["detector"])
        optimizer.load_state_dict(state["optimizer"])
        rows, best = state["history"], state["best"]
        log.info("resuming after epoch %d of %d", len(rows), settings.epochs)

    started, epochs_before = time.monotonic(), len(rows)
    for epoch in range(len(rows) + 1, settings.epochs + 1):
        sampler.epoch = epoch
        torch.manual_seed(seed_from(seed, "dropout", epoch))
        row = {"epoch": epoch, **_train_epoch(detector, optimizer, batches, settings, epoch, target)}
        row |= _validate(detector, val, target, workers)
        rows.append(row)
        if _best_epoch(rows) == epoch:
            best = {name: value.clone() for name, value in detector.state_dict().items()}
        resume.write(
            {"detector": detector.state_dict(), "optimizer": optimizer.state_dict(), "history": rows, "best": best}
        )
        left = (time.monotonic() - started) / (epoch - epochs_before) * (settings.epochs - epoch)
        log.info("epoch %d/%d: %s; about %.0f s left", epoch, settings.epochs, _summary(row), left)

    chosen = _best_epoch(rows)
    if not val.num_rows:
        log.warning("val has no frames: the last epoch, %d, is kept without knowing whether it is the best", chosen)
    write_tsv(history, HISTORY_COLUMNS, [{**row, "chosen": int(row["epoch"] == chosen)} for row in rows])
    save_checkpoint(checkpoint, best, settings, trained_on, chosen, seed)
    resume.remove()


def _train_epoch(
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    batches: DataLoader[tuple[Tensor, Tensor]],
    settings: DetectorTraining,
    epoch: int,
    device: torch.device,
) -> Row:
    """Take one step per batch. Returns learning_rate (of the first step), train_loss and train_accuracy."""
    detector.train()
    loss_of = nn.BCEWithLogitsLoss()
    steps = len(batches)
    # Sums stay on the device: asking a GPU for a number after every step would make it wait.
    loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
    seen = 0
    started = last_report = time.monotonic()
    for step, (pixels, labels) in enumerate(batches):
        done = (epoch - 1) * steps + step
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * learning_rate_factor(done, steps * settings.epochs)
        pixels, wanted = pixels.to(device, non_blocking=True), labels.to(device, torch.float32, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = detector(pixels)
        loss = loss_of(logits.float(), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

        seen += len(wanted)
        loss_sum += loss.detach() * len(wanted)
        right += ((logits.detach() >= 0) == (wanted == 1)).sum()
        if time.monotonic() - last_report > _PROGRESS_EVERY_S:
            last_report = time.monotonic()
            log.info(
                "epoch %d/%d, step %d/%d: loss %.4f, %.0f frames/s",
                *(epoch, settings.epochs, step + 1, steps, loss_sum.item() / seen, seen / (last_report - started)),
            )
    if not math.isfinite(loss_sum.item()):
        raise ConfigError(
            f"training of {settings.name} diverged: the loss of epoch {epoch} is {loss_sum.item()}; lower its "
            f"learning_rate, now {settings.learning_rate}"
        )
    return {
        "learning_rate": settings.learning_rate * learning_rate_factor((epoch - 1) * steps, steps * settings.epochs),
        "train_loss": loss_sum.item() / seen,
        "train_accuracy": right.item() / seen,
    }


def learning_rate_factor(step: int, steps: int) -> float:
    """Return what the learning rate is multiplied by in a step (from 0): a line up to 1, then half a cosine to 0."""
    warm_up = math.ceil(_WARM_UP * steps)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def _validate(detector: Detector, val: pa.Table, device: torch.device, workers: int) -> Row:
    """Return val_loss (mean of both classes' means), val_balanced_accuracy and val_auc; None without val frames."""
    if not val.num_rows:
        return {"val_loss": None, "val_balanced_accuracy": None, "val_auc": None}
    logits = logits_of(detector, val, device, workers).astype(np.float64)
    labels = val["label"].to_numpy()
    losses = np.logaddexp(0.0, np.where(labels == 1, -logits, logits))
    scores = 1.0 / (1.0 + np.exp(-logits))
    return {
        "val_loss": float(np.mean([losses[labels == label].mean() for label in (0, 1)])),
        "val_balanced_accuracy": metrics.balanced_accuracy(labels, scores),
        "val_auc": metrics.auc(labels, scores),
    }


def _best_epoch(rows: list[Row]) -> int:
    """Return the epoch with the highest accuracy on val, of equal ones that with the lowest loss, then the first."""
    if rows[-1]["val_loss"] is None:
        return len(rows)
    best = max(rows, key=lambda row: (row["val_balanced_accuracy"], -row["val_loss"]))
    epoch: int = best["epoch"]
    return epoch


def _check_classes(train: pa.Table, val: pa.Table, trained_on: str) -> None:
    for split, frames in (("train", train), ("val", val)):
        present = set(frames["label"].to_pylist())
        if not present and split == "train":
            raise ConfigError(
                f"there are no train frames of quality {trained_on}: give people to train (lower plan.val_fraction and "
                "plan.test_fraction) or add sources"
            )
        if len(present) == 1:
            missing = CLASSES[1 - present.pop()]
            raise ConfigError(
                f"the {split} frames of quality {trained_on} ({frames.num_rows}) have no {missing} ones: a detector "
                f"needs both. Look in the ledger why no {missing} clip came through, add sources, or change "
                "plan.val_fraction and plan.test_fraction so that the split gets more people"
            )


def _check_size(settings: DetectorTraining) -> None:
    published = detector_config(settings.name).input_size
    if settings.image_size not in (None, published):
        log.warning("%s was published for %d pixels, not %d", settings.name, published, settings.image_size)


def _mark(index: Path | str, videos: Path | str, settings: DetectorTraining, trained_on: str, seed: int) -> str:
    """Return a digest of all that a run depends on, so that it resumes only from a state of its own."""
    digest = hashlib.sha256()
    for part in (settings.model_dump_json(), trained_on, str(seed), code_digest("training.loop")):
        digest.update(f"{part}\0".encode())
    for path in (index, videos):
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()


def _summary(row: Row) -> str:
    text = f"loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.3f}"
    if row["val_loss"] is not None:
        text += f"; val loss {row['val_loss']:.4f}, balanced accuracy {row['val_balanced_accuracy']:.3f}"
    return text
