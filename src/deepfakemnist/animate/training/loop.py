"""Training loop of the First Order Motion Model, for users without the official weights.

Self-supervised as in the paper (arXiv 2003.00196, section 3.3): the model animates one frame of a clip to reconstruct
another. With VGG19 weights the loss is the paper's; without them a multi-scale L1 and image-gradient loss, which needs
no pretrained weights, trains a small model with ``full_resolution_skip`` to usable quality.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from deepfakemnist.animate.fomm.checkpoint import save_checkpoint
from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, minimum_size, size_multiple
from deepfakemnist.animate.training.discriminator import smallest_image
from deepfakemnist.animate.training.frame_store import pair_batches, store_clips
from deepfakemnist.animate.training.losses import Objective, StepLosses
from deepfakemnist.animate.training.pair_batches import PairBatch, Pairs
from deepfakemnist.animate.training.pairs import Clip, PairSampler, TrainingClip, content_digest, hold_out, load_clips
from deepfakemnist.animate.training.perceptual import SMALLEST_VGG_IMAGE
from deepfakemnist.animate.training.sample_sheet import sample_sheet, write_png
from deepfakemnist.animate.training.state import TrainingState, training_facts
from deepfakemnist.animate.training.steps import compile_networks, step_random, train_step
from deepfakemnist.config.animators.fomm import FommModel, TrainAnimatorSettings
from deepfakemnist.devices.distributed import Distributed, synchronize_batch_norms
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

_HELD_OUT_PAIRS = 64
_SHEET_ROWS = 6
#: File name of the training state in the training folder.
STATE = "state.pt"

Scalars = Callable[[dict[str, float], int], None]


@dataclass(frozen=True)
class TrainingReport:
    """Summary of a training run."""

    steps: int
    seconds: float
    """Training time, accumulated over interruptions."""
    device: str
    reconstruction: str
    """Reconstruction loss: VGG19, or pixels and gradients."""
    clips: int
    """Number of training clips."""
    people: int
    held_out_clips: int
    """Number of held-out clips; of other people unless all clips show one person."""
    held_out_people: int
    held_out_l1: float
    """Mean absolute difference, in 0..1, between prediction and driving frame on pairs of the held-out clips."""
    copy_l1: float
    """The same for the source frame, i.e. the score of an animator that moves nothing."""
    held_out_landmark_error: float | None
    """Mean distance between keypoints and facial points on held-out frames, as a fraction of the image side; None
    without landmark supervision."""
    losses: list[StepLosses]
    """Loss terms at every logged step."""

    def save(self, path: Path | str, more: Mapping[str, str] | None = None) -> None:
        """Write the report as JSON atomically, with ``more`` entries."""
        with atomic_path(path) as part:
            part.write_text(json.dumps({**asdict(self), **(more or {})}, indent=1) + "\n", encoding="utf-8")


def train_animator(
    clips: Sequence[TrainingClip],
    checkpoint: Path,
    folder: Path,
    model: FommModel,
    settings: TrainAnimatorSettings,
    align_corners: bool,
    seed: int,
    device: str = "auto",
    log_every: int = 50,
    workers: int = 0,
) -> TrainingReport:
    """Train on frame pairs of the clips and write the weights.

    On the CPU the same clips, settings, seed and thread count give the same weights, even if the training was killed
    and resumed: it continues from the last state in ``folder`` if that belongs to the same training. With
    ``mixed_precision`` the appearance path runs in bfloat16 where the device benefits; motion stays in float32. On CUDA
    the order of atomic additions makes runs differ in the last bits. In a process group, see devices.distributed, the
    ranks share each batch, gradients are averaged, and rank 0 writes the files.

    Args:
        clips: at least two, because some are held out.
        checkpoint: weight file to write.
        folder: for the training state, sample sheets (``samples/``), TensorBoard (``tensorboard/``), detected facial
            points and, with ``frames: disk``, the frames (``frames/``).
        model: architecture.
        settings: training hyper-parameters.
        align_corners: argument of grid_sample at inference.
        seed: of initial weights, held-out people, pairs, augmentation and deformations.
        device: ``cpu``, ``cuda`` or ``auto``.
        log_every: steps between log lines and entries of the report.
        workers: processes per rank that decode with ``frames: disk``; the weights do not depend on it.

    Raises: ConfigError for too few clips, a size that the architecture does not support or unusable VGG19 weights,
        FloatingPointError when the loss is no longer finite, and what ``read_clip`` raises for a bad file.
    """
    distributed = Distributed.current()
    _check(clips, model, settings)
    distributed.local_batch_size(settings.batch_size)  # refuses what the ranks cannot share
    target = choose_device(device)
    random = torch.Generator().manual_seed(seed)
    # Rank 0 writes what the others read.
    loaded = distributed.main_first(lambda: _load(clips, settings, folder, workers))
    training, held_out = hold_out(loaded, random)
    objective = Objective(settings, target)
    state = TrainingState.new(model, settings, align_corners, random, target)
    objective.check_autocast(state.networks)
    facts = training_facts(model, settings, align_corners, seed, target.type, content_digest(loaded))
    if distributed.world_size > 1:
        facts["processes"] = str(distributed.world_size)
        synchronize_batch_norms(state.networks, distributed, target)
    state.resume(folder / STATE, facts)
    distributed.wait()  # until all have read the state that rank 0 will replace
    if settings.compile:
        compile_networks(state.networks, objective)
    log.info("training on %d clips, %d held out, on %s", len(training), len(held_out), target)
    log.info("reconstruction loss: %s", objective.description)

    sampler, held_out_sampler = PairSampler(training, settings), PairSampler(held_out, settings)
    scalars, close = _tensorboard(folder / "tensorboard", state.step, distributed.is_main)
    started, before, first = time.monotonic(), state.seconds, state.step
    state.networks.train()
    last = min(settings.stop_after or settings.steps, settings.steps)
    for batch in _batches(sampler, state, last, settings, seed, distributed, workers):
        state.step += 1
        if settings.frames == "disk" or distributed.world_size > 1:
            state.random = step_random(seed, "deformations", state.step, distributed.rank)
        # Cosine decay to zero. It depends on the step only, so resuming needs no scheduler state.
        rate = settings.learning_rate * (1 + math.cos(math.pi * (state.step - 1) / settings.steps)) / 2
        terms = train_step(state, objective, batch.to(target).pairs(), rate, settings.ema, distributed)
        writes_state = state.step % settings.checkpoint_every == 0 or state.step == last
        writes_samples = state.step % settings.samples_every == 0 or state.step == last
        logs = state.step % log_every == 0 or state.step in (1, last)
        if not (writes_state or writes_samples or logs):
            continue
        # Only now does the CPU wait for a GPU.
        state.check_finite()
        state.seconds = before + time.monotonic() - started
        if logs:
            averaged = distributed.average(list(terms.values()))
            state.losses.append(StepLosses(state.step, **dict(zip(terms, averaged, strict=True))))
            _log_progress(state.losses[-1], last, first, time.monotonic() - started)
            scalars(asdict(state.losses[-1]) | {"total": state.losses[-1].total}, state.step)
        if writes_samples and distributed.is_main:
            _write_samples(state, sampler, held_out_sampler, folder / "samples", seed, target)
        if writes_state:
            # On CPUs, batch norms saw their own rank's part of the batches only.
            distributed.broadcast(*dict.fromkeys([state.result, state.networks]))
            if distributed.is_main:
                state.save(folder / STATE, facts)
    close()

    held_out_l1, copy_l1, landmark_error = measure(state.result, held_out_sampler, settings, seed, target)
    log.info("held-out L1 %.4f, copying the source %.4f, after %.0f s", held_out_l1, copy_l1, state.seconds)
    report = TrainingReport(
        steps=state.step,
        seconds=state.seconds,
        device=str(target),
        reconstruction=objective.description,
        clips=len(training),
        people=len({clip.person for clip in training}),
        held_out_clips=len(held_out),
        held_out_people=len({clip.person for clip in held_out}),
        held_out_l1=held_out_l1,
        copy_l1=copy_l1,
        held_out_landmark_error=landmark_error,
        losses=state.losses,
    )
    # Without times and machines, so that equal trainings give equal files.
    stored = {name: value for name, value in asdict(report).items() if name not in ("losses", "seconds", "device")}
    if distributed.is_main:
        save_checkpoint(checkpoint, state.result, {**stored, "seed": seed})
    return report


def _load(clips: Sequence[TrainingClip], settings: TrainAnimatorSettings, folder: Path, workers: int) -> Sequence[Clip]:
    if settings.frames == "memory":
        return load_clips(clips, settings, folder / "facial_points")
    return store_clips(clips, settings, folder / "frames", folder / "facial_points", workers)


def _batches(
    sampler: PairSampler,
    state: TrainingState,
    last: int,
    settings: TrainAnimatorSettings,
    seed: int,
    distributed: Distributed,
    workers: int,
) -> Iterator[PairBatch]:
    """Yield this rank's part of the batch of every step that is left."""
    steps = range(state.step + 1, last + 1)
    if settings.frames == "memory" and distributed.world_size == 1:
        for _ in steps:
            yield sampler.batch(sampler.plan(settings.batch_size, state.random))
        return
    # Batches are read ahead, and by several ranks, so each step has random numbers of its own.
    yield from pair_batches(
        sampler,
        steps,
        settings.batch_size,
        partial(step_random, seed, "pairs"),
        workers if settings.frames == "disk" else 0,
        slice(distributed.rank, None, distributed.world_size),
    )


def _check(clips: Sequence[TrainingClip], model: FommModel, settings: TrainAnimatorSettings) -> None:
    if len(clips) < 2:
        raise ConfigError(
            f"training an animator needs at least 2 usable clips, one of them held out; there are {len(clips)}"
        )
    multiple, smallest = size_multiple(model), minimum_size(model)
    if settings.adversarial:
        smallest = max(smallest, smallest_image(settings.discriminator))
    if settings.vgg19 is not None:
        smallest = max(smallest, SMALLEST_VGG_IMAGE)
    smallest = multiple * math.ceil(smallest / multiple)
    if settings.size % multiple or settings.size < smallest:
        raise ConfigError(
            f"animator.train.size is {settings.size}; this architecture supports sizes from {smallest} "
            f"in multiples of {multiple}"
        )
    if settings.landmark_steps and not (settings.landmarks and settings.landmark_steps < settings.steps):
        raise ConfigError(
            f"animator.train.landmark_steps is {settings.landmark_steps}; it needs landmarks above 0 and must be less "
            f"than the {settings.steps} steps"
        )
    if not settings.train_keypoints and (settings.start_from is None or settings.landmark_steps):
        raise ConfigError(
            "animator.train.train_keypoints: false needs weights in start_from and landmark_steps: 0, because those "
            "steps train only the keypoint detector"
        )
    if settings.frames_per_clip < 2:
        raise ConfigError(f"animator.train.frames_per_clip is {settings.frames_per_clip}; a pair needs at least 2")


def _write_samples(
    state: TrainingState, sampler: PairSampler, held_out: PairSampler, folder: Path, seed: int, device: torch.device
) -> None:
    """Write a sheet of training pairs and one of held-out pairs, always the same ones."""
    for name, source in (("training", sampler), ("held_out", held_out)):
        pairs = source.sample(_SHEET_ROWS, torch.Generator().manual_seed(seed), augment=False).to(device)
        write_png(folder / f"{name}_{state.step:07d}.png", sample_sheet(state.result, pairs))


class PairSource(Protocol):
    """Source of frame pairs, e.g. clips in memory or images rendered on the fly."""

    def sample(self, count: int, random: torch.Generator, augment: bool = True) -> Pairs:
        """Return ``count`` pairs; see ``PairSampler.sample``."""


@torch.inference_mode()
def measure(
    networks: FirstOrderMotionModel,
    held_out: PairSource,
    settings: TrainAnimatorSettings,
    seed: int,
    device: torch.device,
) -> tuple[float, float, float | None]:
    """Return the mean L1 of prediction and of source to the driving frame, and of keypoints to facial points."""
    networks.eval()
    random = torch.Generator().manual_seed(seed)  # the same pairs regardless of the length of the training
    predicted, copied, distances = [], [], []
    left = _HELD_OUT_PAIRS
    while left > 0:
        pairs = held_out.sample(min(left, settings.batch_size), random, augment=False).to(device)
        left -= settings.batch_size
        driving = networks.kp_detector(pairs.driving)
        prediction = networks.generator(pairs.source, networks.kp_detector(pairs.source), driving)
        predicted += (prediction - pairs.driving).abs().mean(dim=(1, 2, 3)).tolist()
        copied += (pairs.source - pairs.driving).abs().mean(dim=(1, 2, 3)).tolist()
        if settings.landmarks and pairs.driving_points is not None:
            count = min(driving.value.shape[1], pairs.driving_points.shape[1])
            offset = driving.value[:, :count] - pairs.driving_points[:, :count]
            distances += (offset.norm(dim=-1).mean(dim=1) / 2).tolist()
    known = [distance for distance in distances if math.isfinite(distance)]
    return float(np.mean(predicted)), float(np.mean(copied)), float(np.mean(known)) if known else None


def _tensorboard(folder: Path, step: int, is_main: bool) -> tuple[Scalars, Callable[[], None]]:
    """Return functions that write scalars and close the writer; both do nothing if TensorBoard is not installed."""
    if not is_main:
        return (lambda values, step: None), (lambda: None)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed: no curves are written")
        return (lambda values, step: None), (lambda: None)
    writer: Any = SummaryWriter(folder, purge_step=step + 1)

    def write(values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            if name != "step":
                writer.add_scalar(f"loss/{name}", value, step)

    return write, writer.close


def _log_progress(losses: StepLosses, steps: int, first: int, elapsed: float) -> None:
    rate = (losses.step - first) / elapsed
    terms = ", ".join(f"{name} {value:.3f}" for name, value in asdict(losses).items() if name != "step" and value)
    log.info(
        "step %d/%d: loss %.3f (%s), %.2f steps/s, about %.0f s left",
        losses.step,
        steps,
        losses.total,
        terms,
        rate,
        (steps - losses.step) / rate,
    )
