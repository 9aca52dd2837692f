"""Training a First Order Motion Model on one's own clips, for those who have no official weights.

Self-supervised as in the paper (arXiv 2003.00196, section 3.3): of two frames of one clip, the first is animated to
look like the second. The perceptual loss is replaced by a multi-scale L1 and image-gradient loss, which needs no
foreign weights and brings a small model with ``full_resolution_skip`` to usable pictures in minutes.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepfakemnist.animate.checkpoint import save_checkpoint
from deepfakemnist.animate.equivariance import RandomDeformation
from deepfakemnist.animate.network import (
    FirstOrderMotionModel,
    Keypoints,
    choose_device,
    minimum_size,
    size_multiple,
)
from deepfakemnist.errors import ConfigError
from deepfakemnist.settings import FommModel, TrainAnimatorSettings
from deepfakemnist.tables import atomic_path

log = logging.getLogger(__name__)

#: Weight of the reconstruction at each scale; the paper gives each of its perceptual terms 10.
_RECONSTRUCTION = 10.0
#: Full, half, quarter and eighth resolution, as in the paper.
_SCALES = 4
#: Steps over which the jacobian term grows to its weight: while keypoints still wander, jacobians learn nothing.
_JACOBIAN_RAMP = 300
_MAX_GRADIENT_NORM = 5.0
#: Share of the clips that is not trained on and measures the result.
_HELD_OUT = 0.1
_HELD_OUT_PAIRS = 64


@dataclass(frozen=True)
class StepLosses:
    """Weighted terms of the loss at one step."""

    step: int
    reconstruction: float
    equivariance_value: float
    equivariance_jacobian: float

    @property
    def total(self) -> float:
        """Sum of the terms."""
        return self.reconstruction + self.equivariance_value + self.equivariance_jacobian


@dataclass(frozen=True)
class TrainingReport:
    """How a training went."""

    steps: int
    seconds: float
    device: str
    clips: int
    """Clips trained on."""
    held_out_clips: int
    """Clips kept back to measure the result."""
    held_out_l1: float
    """Mean absolute difference, of 0..1, between prediction and driving frame on pairs of the held-out clips."""
    copy_l1: float
    """The same for the source frame itself: what an animator that moves nothing would get."""
    losses: list[StepLosses]
    """Terms at every logged step."""

    def save(self, path: Path | str) -> None:
        """Write the report as JSON, whole or not at all."""
        with atomic_path(path) as part:
            part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def train_animator(
    clips: Sequence[Path | np.ndarray],
    checkpoint: Path,
    model: FommModel,
    settings: TrainAnimatorSettings,
    align_corners: bool,
    seed: int,
    device: str = "auto",
    log_every: int = 50,
) -> TrainingReport:
    """Train on pairs of frames of each clip and write the weights in the official layout.

    On the CPU the same clips, settings, seed and thread count give the same weights. On CUDA the appearance path runs
    in bfloat16, motion stays in float32, and the order of atomic additions makes runs differ in the last bits.

    Args:
        clips: files, or frames (T, H, W, 3) uint8 RGB; at least two, since some are held out.
        checkpoint: file to write.
        model: architecture.
        settings: length and weights of the training.
        align_corners: convention the animator will be used with.
        seed: of initial weights, held-out clips, pairs, flips and deformations.
        device: ``cpu``, ``cuda`` or ``auto``.
        log_every: steps between log lines and entries of the report.

    Raises: ConfigError for too few clips or a size the architecture cannot take, FloatingPointError when the loss
        is no longer finite, and what ``read_frames`` raises for a bad file.
    """
    _check(clips, model, settings)
    target = choose_device(device)
    random = torch.Generator().manual_seed(seed)
    frames = [_load_frames(clip, settings) for clip in clips]
    order = torch.randperm(len(frames), generator=random).tolist()
    held_out_count = max(1, round(_HELD_OUT * len(frames)))
    held_out, training = [frames[i] for i in order[:held_out_count]], [frames[i] for i in order[held_out_count:]]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = FirstOrderMotionModel(model, align_corners)
    networks.to(target).train()
    if target.type == "cuda":
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(networks.parameters(), lr=settings.learning_rate, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=settings.steps)

    log.info("training on %d clips, %d held out, on %s", len(training), len(held_out), target)
    losses: list[StepLosses] = []
    started = time.monotonic()
    for step in range(1, settings.steps + 1):
        source, driving = _sample_pairs(training, settings.batch_size, random, flip=True)
        terms = _losses(networks, source.to(target), driving.to(target), settings, random, step)
        total = torch.stack(terms).sum()
        if not torch.isfinite(total):  # checked at every step: grid_sample's backward crashes on NaN coordinates
            raise FloatingPointError(f"the loss is {total.item()} at step {step}; lower animator.train.learning_rate")
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(networks.parameters(), _MAX_GRADIENT_NORM)
        optimiser.step()
        schedule.step()
        if step % log_every == 0 or step in (1, settings.steps):
            losses.append(StepLosses(step, *(term.item() for term in terms)))
            _log_progress(losses[-1], settings.steps, time.monotonic() - started)

    seconds = time.monotonic() - started
    held_out_l1, copy_l1 = _measure(networks, held_out, settings.batch_size, seed, target)
    log.info("held-out L1 %.4f, copying the source %.4f, after %.0f s", held_out_l1, copy_l1, seconds)
    save_checkpoint(checkpoint, networks, epoch=settings.steps)
    return TrainingReport(
        settings.steps, seconds, str(target), len(training), len(held_out), held_out_l1, copy_l1, losses
    )


def _check(clips: Sequence[Path | np.ndarray], model: FommModel, settings: TrainAnimatorSettings) -> None:
    if len(clips) < 2:
        raise ConfigError(
            f"training an animator needs at least 2 usable clips, one of them held out; there are {len(clips)}"
        )
    multiple, smallest = size_multiple(model), minimum_size(model)
    if settings.size % multiple or settings.size < smallest:
        raise ConfigError(
            f"animator.train.size is {settings.size}; this architecture takes sizes from {smallest} "
            f"in multiples of {multiple}"
        )
    if settings.frames_per_clip < 2:
        raise ConfigError(f"animator.train.frames_per_clip is {settings.frames_per_clip}; a pair takes at least 2")


def _load_frames(clip: Path | np.ndarray, settings: TrainAnimatorSettings) -> Tensor:
    """Return up to ``frames_per_clip`` evenly spaced frames as (N, 3, size, size) uint8."""
    if isinstance(clip, np.ndarray):
        frames, name = clip, f"array of shape {clip.shape}"
    else:
        # Imported here, because arrays can be trained on where no video library is installed.
        from deepfakemnist.media.decode import read_clip

        frames, name = read_clip(clip), str(clip)
    if len(frames) < 2:
        raise ConfigError(f"training clip {name} has {len(frames)} frames; a pair takes at least 2")
    count = min(settings.frames_per_clip, len(frames))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    pictures = torch.from_numpy(frames[chosen]).permute(0, 3, 1, 2)
    size = (settings.size, settings.size)
    if pictures.shape[-2:] != size:
        resized = F.interpolate(pictures.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        pictures = resized.round().clamp(0, 255).to(torch.uint8)
    return pictures.contiguous()


def _sample_pairs(clips: list[Tensor], count: int, random: torch.Generator, flip: bool) -> tuple[Tensor, Tensor]:
    """Return ``count`` pairs of different frames of one clip each, (count, 3, H, W) in 0..1."""
    pairs = []
    for clip_index in torch.randint(len(clips), (count,), generator=random).tolist():
        clip = clips[clip_index]
        pair = clip[torch.randperm(len(clip), generator=random)[:2]]
        mirrored = flip and torch.rand((), generator=random).item() < 0.5
        pairs.append(pair.flip(-1) if mirrored else pair)
    batch = torch.stack(pairs).float() / 255
    return batch[:, 0], batch[:, 1]


def _losses(
    networks: FirstOrderMotionModel,
    source: Tensor,
    driving: Tensor,
    settings: TrainAnimatorSettings,
    random: torch.Generator,
    step: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return reconstruction, equivariance of values and equivariance of jacobians, weighted."""
    batch = len(source)
    align_corners = networks.generator.align_corners
    deformation = RandomDeformation(batch, random, source.device)
    deformed = deformation.pictures(driving, align_corners)
    # One pass over all three, so that batch norm sees the same statistics for each.
    found = networks.kp_detector(torch.cat([source, driving, deformed]))
    of_source, of_driving, of_deformed = (
        Keypoints(*(part[i * batch : (i + 1) * batch] for part in found)) for i in range(3)
    )
    with torch.autocast(source.device.type, dtype=torch.bfloat16, enabled=source.is_cuda):
        prediction = networks.generator(source, of_source, of_driving)
    reconstruction = _RECONSTRUCTION * _pyramid_loss(prediction, driving, settings.gradient)

    value = (of_driving.value - deformation.points(of_deformed.value)).abs().mean()
    carried = deformation.jacobian(of_deformed.value) @ of_deformed.jacobian
    identity = torch.eye(2, device=source.device)
    jacobian = (identity - torch.linalg.inv(of_driving.jacobian) @ carried).abs().mean()
    ramp = min(1.0, step / _JACOBIAN_RAMP)
    return reconstruction, settings.equivariance_value * value, settings.equivariance_jacobian * ramp * jacobian


def _pyramid_loss(prediction: Tensor, target: Tensor, gradient_weight: float) -> Tensor:
    """Sum over scales of mean L1 plus weighted mean L1 of horizontal and vertical differences."""
    loss = prediction.new_zeros(())
    for scale in range(_SCALES):
        if scale:
            prediction, target = F.avg_pool2d(prediction, 2), F.avg_pool2d(target, 2)
        error = prediction - target
        slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        loss = loss + error.abs().mean() + gradient_weight * slopes
    return loss


@torch.inference_mode()
def _measure(
    networks: FirstOrderMotionModel, clips: list[Tensor], batch_size: int, seed: int, device: torch.device
) -> tuple[float, float]:
    """Return mean L1 of the prediction and of the bare source on random pairs of ``clips``."""
    networks.eval()
    random = torch.Generator().manual_seed(seed)  # the same pairs however long the training was
    source, driving = (frames.to(device) for frames in _sample_pairs(clips, _HELD_OUT_PAIRS, random, flip=False))
    predicted, copied = [], []
    for x, y in zip(source.split(batch_size), driving.split(batch_size), strict=True):
        prediction = networks.generator(x, networks.kp_detector(x), networks.kp_detector(y))
        predicted += (prediction - y).abs().mean(dim=(1, 2, 3)).tolist()
        copied += (x - y).abs().mean(dim=(1, 2, 3)).tolist()
    return float(np.mean(predicted)), float(np.mean(copied))


def _log_progress(losses: StepLosses, steps: int, elapsed: float) -> None:
    rate = losses.step / elapsed
    log.info(
        "step %d/%d: loss %.3f (reconstruction %.3f, equivariance %.3f + %.3f), %.2f steps/s, about %.0f s left",
        *(losses.step, steps, losses.total, losses.reconstruction, losses.equivariance_value),
        *(losses.equivariance_jacobian, rate, (steps - losses.step) / rate),
    )
