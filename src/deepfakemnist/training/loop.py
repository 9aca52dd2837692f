"""Training loop of a deepfake detector: data, model, optimiser, epochs, model selection on val.

On a CPU the same tables, settings and seed give the same weights, whether or not the training was interrupted. On a GPU
the order of frames, augmentation, dropout and initialisation are the same too, but kernels may sum floats in another
order.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from deepfakemnist.code_digest import code_digest
from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.dataset.training_sets import select_rows
from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.registry import build
from deepfakemnist.devices.distributed import Distributed, synchronize_batch_norms
from deepfakemnist.devices.reduced_precision import autocast_is_accurate
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation import metrics
from deepfakemnist.ids import seed_from
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv
from deepfakemnist.training.card import write_card
from deepfakemnist.training.checkpoint import CLASSES, ResumeFile, input_facts, save_checkpoint
from deepfakemnist.training.data import FrameDataset, FrameSampler, make_loader, read_index
from deepfakemnist.training.decision import choose_decision
from deepfakemnist.training.optimise import (
    ema_decay,
    learning_rate_factor,
    make_ema,
    make_optimizer,
    peak_learning_rate,
)
from deepfakemnist.training.predict import predict_logits
from deepfakemnist.training.training_log import HISTORY_COLUMNS, TensorBoardLog, best_epoch, class_ratio, summary

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

log = logging.getLogger(__name__)

_PROGRESS_EVERY_S = 30.0
#: Share of their initial values that batch norms may keep; activations' variances are often a thousandth of it.
_MAX_INITIAL_SHARE = 1e-3


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
    card: Path | str | None = None,
    events: Path | str | None = None,
    preparation: Preparation | None = None,
    imagenet: Path | None = None,
) -> None:
    """Train a detector on the train frames of a training set and keep the best epoch on val.

    Best is the highest balanced accuracy over the val frames of the same training set, then the lowest loss; test
    frames are never read. Without val frames the last epoch is kept, with a warning. After each epoch the full state is
    written to ``checkpoint`` + ``.resume``, from which a killed training resumes; the file is removed at the end.
    In a process group, see devices.distributed, the ranks share each batch and rank 0 writes the files.

    Args:
        index: table with tables.FRAME_INDEX.
        videos: table with tables.VIDEOS.
        checkpoint: file to write, see training.checkpoint.
        history: training log to write, TSV with one row per epoch; ``chosen`` is 1 for the selected epoch.
        settings: detector and recipe.
        trained_on: training set, see config.training_sets.parse_training_set.
        seed: seed of initialisation, order, augmentation and dropout.
        device: auto, cpu or cuda.
        workers: processes that decode frames; 0 decodes in this one.
        card: model card to write, Markdown; None writes none.
        events: folder for TensorBoard events; None writes none.
        preparation: what was done to the clips, kept in the checkpoint so that other videos can be prepared alike;
            None: not known.
        imagenet: file of the ImageNet weights that the settings ask for, see training.imagenet; None: from
            the library, which may download them.

    Raises: ConfigError when train has no frames, train or val has one class only, the tables are inconsistent, or
    training diverges; BadFrame, naming it, for a frame that cannot be read.
    """
    target, distributed = choose_device(device), Distributed.current()
    frames = read_index(index, videos)
    train, val = (select_rows(frames, split, trained_on) for split in ("train", "val"))
    _check_classes(train, val, trained_on)
    for split, part in (("train", train), ("val", val)):
        log.info("%s of %s: %s", split, trained_on, class_ratio(part))

    torch.manual_seed(seed_from(seed, "start"))
    initial = settings.weights if imagenet is None else WeightFile(path=imagenet, sha256=file_facts(imagenet).sha256)
    detector = build(settings.name, initial, settings.image_size, settings.dropout).to(target)
    _warn_of_input_size(detector)
    synchronize_batch_norms(detector, distributed, target)
    ema = make_ema(detector, settings.ema) if settings.ema else None
    evaluated: Detector = ema.module if ema else detector
    optimizer = make_optimizer(detector, settings)
    forward = distributed.training_forward(detector, settings.compile)
    dataset = FrameDataset(train, detector.image_size, detector.config.clip_frames, settings.augmentation)
    sampler = FrameSampler(dataset.labels, train["action"].to_pylist(), seed, settings.sampling, *distributed)
    batches = make_loader(dataset, distributed.local_batch_size(settings.batch_size), workers, sampler)
    bfloat16 = settings.precision == "bfloat16" or (settings.precision == "auto" and target.type == "cuda")
    bfloat16 = bfloat16 and autocast_is_accurate(detector, dataset[0][0][None].to(target), device=target)
    _warn_of_slow_batch_norms(detector, settings.epochs * len(batches))
    log.info(
        "%s, %s, seed %d: %d train and %d val frames, up to %d epochs of %d steps on %s",
        settings.slug,
        trained_on,
        seed,
        train.num_rows,
        val.num_rows,
        settings.epochs,
        len(batches),
        target,
    )

    rows: list[Row] = []
    best: dict[str, Tensor] = {}
    best_logits = np.empty(0)
    resume = ResumeFile(checkpoint, _run_digest(index, videos, settings, trained_on, seed))
    if state := resume.read(target):
        detector.load_state_dict(state["detector"])
        optimizer.load_state_dict(state["optimizer"])
        if ema:
            ema.module.load_state_dict(state["ema"])
        rows, best, best_logits = state["history"], state["best"], state["best_logits"].cpu().numpy()
        log.info("resuming after epoch %d of %d", len(rows), settings.epochs)

    started, epochs_before = time.monotonic(), len(rows)
    with TensorBoardLog(events if distributed.is_main else None) as tensorboard:
        for row in rows:
            tensorboard.add(row)
        for epoch in range(len(rows) + 1, settings.epochs + 1):
            if rows and settings.patience and len(rows) - best_epoch(rows) >= settings.patience:
                log.info("no improvement on val since epoch %d: stopping early", best_epoch(rows))
                break
            sampler.epoch = epoch
            torch.manual_seed(seed_from(seed, "dropout", epoch, *([distributed.rank] if distributed.rank else [])))
            trained = _train_epoch(forward, detector, optimizer, ema, batches, settings, epoch, distributed, bfloat16)
            distributed.broadcast(detector, evaluated)
            logits = _val_logits(evaluated, val, target, workers, distributed)
            row = {"epoch": epoch, **trained, **_validate(val, logits)}
            rows.append(row)
            tensorboard.add(row)
            if best_epoch(rows) == epoch:
                best, best_logits = {name: value.clone() for name, value in evaluated.state_dict().items()}, logits
            if distributed.is_main:
                resume.write(
                    {
                        "detector": detector.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "history": rows,
                        "best": best,
                        "best_logits": torch.from_numpy(best_logits),
                        **({"ema": evaluated.state_dict()} if ema else {}),
                    }
                )
            left = (time.monotonic() - started) / (epoch - epochs_before) * (settings.epochs - epoch)
            log.info("epoch %d/%d: %s; about %.0f s left", epoch, settings.epochs, summary(row), left)

    if not distributed.is_main:
        return
    chosen = best_epoch(rows)
    if not val.num_rows:
        log.warning("val has no frames, so epochs cannot be compared: the last one, %d, is kept", chosen)
    write_tsv(history, HISTORY_COLUMNS, [{**row, "chosen": int(row["epoch"] == chosen)} for row in rows])
    clips = [" ".join(clip) for clip in zip(val["video_id"].to_pylist(), val["quality"].to_pylist(), strict=True)]
    decision = choose_decision(val["label"].to_numpy(), best_logits, clips)
    facts = {
        "data": _data_facts(train, val),
        "val": rows[chosen - 1],
        "preparation": preparation.model_dump(mode="json") if preparation else None,
        "decision": decision.model_dump(),
        "input": input_facts(detector),
    }
    if card is not None:
        write_card(card, detector.config, settings, trained_on, seed, rows[chosen - 1], facts)
    save_checkpoint(checkpoint, best, settings, trained_on, chosen, seed, facts)
    resume.remove()


def _train_epoch(
    forward: Callable[[Tensor], Tensor],
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    ema: ModelEmaV3 | None,
    batches: DataLoader[tuple[Tensor, Tensor]],
    settings: DetectorTraining,
    epoch: int,
    distributed: Distributed,
    bfloat16: bool,
) -> Row:
    """Take one step per batch. Returns learning_rate (of the first step), train_loss and train_accuracy.

    ``forward`` is ``detector`` itself, compiled, or wrapped for data parallelism; the weights are the same.
    """
    detector.train()
    device = detector.mean.device
    loss_of = nn.BCEWithLogitsLoss()
    steps, peak = len(batches), peak_learning_rate(detector, settings)
    # Sums stay on the device: reading a value in every step would synchronise with the GPU.
    loss_sum, right = torch.zeros((), device=device), torch.zeros((), device=device)
    seen = 0
    started = last_report = time.monotonic()
    for step, (pixels, labels) in enumerate(batches):
        global_step = (epoch - 1) * steps + step
        rate = peak * learning_rate_factor(global_step, steps, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        pixels, wanted = pixels.to(device, non_blocking=True), labels.to(device, torch.float32, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = forward(pixels)
        smoothed = wanted * (1 - settings.label_smoothing) + settings.label_smoothing / 2
        loss = loss_of(logits.float(), smoothed)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(detector.parameters(), settings.clip_norm)
        optimizer.step()
        if ema and settings.ema:
            ema.decay = ema_decay(global_step + 1, settings.ema)
            ema.update(detector)

        seen += len(wanted)
        loss_sum += loss.detach() * len(wanted)
        right += ((logits.detach() >= 0) == (wanted == 1)).sum()
        if time.monotonic() - last_report > _PROGRESS_EVERY_S:
            last_report = time.monotonic()
            log.info(
                "epoch %d/%d, step %d/%d: loss %.4f, %.0f frames/s",
                epoch,
                settings.epochs,
                step + 1,
                steps,
                loss_sum.item() / seen,
                seen / (last_report - started),
            )
    total_loss, total_right, total_seen = distributed.all_reduce(loss_sum, right, torch.full_like(loss_sum, seen))
    if not math.isfinite(total_loss):
        raise ConfigError(
            f"training of {settings.slug} diverged: the loss of epoch {epoch} is {total_loss}; lower its "
            f"learning_rate, now {peak}"
        )
    return {
        "learning_rate": peak * learning_rate_factor((epoch - 1) * steps, steps, settings),
        "train_loss": total_loss / total_seen,
        "train_accuracy": total_right / total_seen,
    }


def _val_logits(
    detector: Detector, val: pa.Table, device: torch.device, workers: int, distributed: Distributed
) -> NDArray[np.float64]:
    """Return the logits (N,) of the val frames, on every rank."""
    if not val.num_rows:
        return np.empty(0)
    local = distributed.local_rows(val["video_id"].to_pylist())
    local_logits = predict_logits(detector, val.take(local), device, workers)
    return distributed.all_gather(local_logits, local).astype(np.float64)


def _validate(val: pa.Table, logits: NDArray[np.float64]) -> Row:
    """Return val_loss (mean of the per-class means), val_balanced_accuracy and val_auc; None without val frames."""
    if not val.num_rows:
        return {"val_loss": None, "val_balanced_accuracy": None, "val_auc": None}
    labels = val["label"].to_numpy()
    losses = np.logaddexp(0.0, np.where(labels == 1, -logits, logits))
    scores = 1.0 / (1.0 + np.exp(-logits))
    return {
        "val_loss": float(np.mean([losses[labels == label].mean() for label in (0, 1)])),
        "val_balanced_accuracy": metrics.balanced_accuracy(labels, scores),
        "val_auc": metrics.auc(labels, scores),
    }


def _check_classes(train: pa.Table, val: pa.Table, trained_on: str) -> None:
    for split, frames in (("train", train), ("val", val)):
        present = set(frames["label"].to_pylist())
        if not present and split == "train":
            raise ConfigError(
                f"train has no frames of {trained_on}: assign people to train (lower plan.val_fraction and "
                "plan.test_fraction) or add sources"
            )
        if len(present) == 1:
            missing = CLASSES[1 - present.pop()]
            raise ConfigError(
                f"the {split} frames of {trained_on} ({frames.num_rows}) have no {missing} ones: a detector needs "
                f"both classes. See the ledger for why no {missing} clip was accepted, add sources, or change "
                "plan.val_fraction and plan.test_fraction so that the split gets more people"
            )


def _warn_of_input_size(detector: Detector) -> None:
    published = detector.config.input_size
    if detector.image_size != published:
        log.warning("%s was published for %d pixels, not %d", detector.config.name, published, detector.image_size)


def _warn_of_slow_batch_norms(detector: Detector, steps: int) -> None:
    """Warn when training is too short for the running statistics; MesoNet has Keras's slow momentum."""
    momenta = [layer.momentum for layer in detector.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    kept = max(((1.0 - momentum) ** steps for momentum in momenta if momentum), default=0.0)
    if kept > _MAX_INITIAL_SHARE:
        log.warning(
            "%s: after all %d steps the batch norms' running statistics keep %.2g of their initial values, so scores "
            "on val and test may lag far behind training; more epochs or smaller batches help",
            detector.config.name,
            steps,
            kept,
        )


def _data_facts(train: pa.Table, val: pa.Table) -> dict[str, int]:
    """Return counts for the model card: frames, videos and people of train and val."""
    facts = {}
    for split, frames in (("train", train), ("val", val)):
        facts[f"{split}_frames"] = frames.num_rows
        for what, name in (("videos", "video_id"), ("people", "person_id")):
            facts[f"{split}_{what}"] = len(set(frames[name].to_pylist()))
    return facts


def _run_digest(index: Path | str, videos: Path | str, settings: DetectorTraining, trained_on: str, seed: int) -> str:
    """Return a digest of everything the training depends on, so that it resumes from its own state only."""
    digest = hashlib.sha256()
    for part in (settings.model_dump_json(), trained_on, str(seed), code_digest("training.loop")):
        digest.update(f"{part}\0".encode())
    for path in (index, videos):
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()
