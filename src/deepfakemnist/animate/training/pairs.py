"""Training clips of an animator, held-out split, and sampling of frame pairs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepfakemnist.animate.training.pair_batches import PairBatch, PairPlan, Pairs
from deepfakemnist.config.animators.fomm import TrainAnimatorSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.facial_points import FACIAL_POINTS, find_facial_points
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Held-out fraction of the people, or of the clips of a single person.
_HELD_OUT = 0.1
#: Candidates from which a far pair is chosen.
_FAR_CANDIDATES = 6
#: ``FACIAL_POINTS`` that span the height and width of the right eye, the left eye and the mouth.
_HEIGHTS, _WIDTHS = ((0, 1), (2, 3), (4, 5)), ((17, 18), (19, 20), (6, 7))
#: Side of the thumbnails that frames are compared by; a closed eye of a 256-pixel crop covers about 4×1 pixels.
THUMBNAIL = 32


@dataclass(frozen=True)
class TrainingClip:
    """Clip of one face, cropped like the input of the animator."""

    frames: Path | NDArray[np.uint8]
    """File, or (T, H, W, 3) uint8 RGB; square."""
    person: str
    points: NDArray[np.float32] | None = None
    """(T, P, 2) ``facial_points.FACIAL_POINTS`` in pixels if known, e.g. for rendered faces; otherwise detected if the
    settings need them. NaN without a face."""
    sha256: str | None = None
    """Of the file, if known."""


class Clip(Protocol):
    """Frames of a clip, in memory or on disk."""

    @property
    def person(self) -> str:
        """Name of the person it shows."""

    @property
    def points(self) -> Tensor | None:
        """(N, P, 2) facial points in -1..1, if needed."""

    @property
    def thumbnails(self) -> Tensor:
        """(N, 3, 32, 32) float32 in 0..255."""

    @property
    def digest(self) -> str:
        """Digest of the frames, their points and the person."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def pictures(self, frames: Sequence[int]) -> Tensor:
        """Return frames, (n, 3, size, size) uint8."""


@dataclass(frozen=True)
class LoadedClip:
    """Clip with its frames in memory."""

    images: Tensor
    """(N, 3, size, size) uint8."""
    points: Tensor | None
    """(N, P, 2) in -1..1."""
    thumbnails: Tensor
    """(N, 3, 32, 32) float32 in 0..255."""
    person: str

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.images)

    def pictures(self, frames: Sequence[int]) -> Tensor:
        """Return frames, (n, 3, size, size) uint8."""
        return self.images[list(frames)]

    @property
    def digest(self) -> str:
        """Digest of the frames, their points and the person."""
        digest = hashlib.blake2b(f"{self.person}\0{tuple(self.images.shape)}\0".encode(), digest_size=16)
        digest.update(self.images.numpy().data)
        if self.points is not None:
            digest.update(self.points.numpy().data)
        return digest.hexdigest()


AnyClip = TypeVar("AnyClip", bound=Clip)


def load_clips(clips: Sequence[TrainingClip], settings: TrainAnimatorSettings, cache: Path) -> list[LoadedClip]:
    """Read up to ``frames_per_clip`` evenly spaced frames of every clip, and detect facial points if needed.

    Args:
        clips: clips to load.
        settings: size and number of frames; whether facial points are needed.
        cache: folder for detected points, because detection takes longer than decoding.

    Raises: ConfigError for a clip of fewer than two frames, and what ``read_clip`` raises for a bad file.
    """
    loaded = [load_clip(clip, settings, cache if needs_points(settings) else None) for clip in clips]
    check_points(loaded, settings)
    return loaded


def needs_points(settings: TrainAnimatorSettings) -> bool:
    """Return whether the settings need facial points."""
    by_points = (settings.landmarks, settings.face_detail, settings.eye_detail, settings.aperture_pairs)
    return any(weight > 0 for weight in by_points)


def check_points(clips: Sequence[Clip], settings: TrainAnimatorSettings) -> None:
    """Raise ConfigError when the settings need facial points, and no frame has any."""
    if not needs_points(settings):
        return
    known = torch.cat([clip.points.isfinite().all(dim=(1, 2)) for clip in clips if clip.points is not None])
    log.info("facial points in %d of %d frames", int(known.sum()), len(known))
    if not known.any():
        raise ConfigError(
            "animator.train.landmarks, face_detail, eye_detail and aperture_pairs need faces, but no training "
            "frame shows one; set all to 0"
        )


def hold_out(clips: Sequence[AnyClip], random: torch.Generator) -> tuple[list[AnyClip], list[AnyClip]]:
    """Split into training and held-out clips: person-disjoint, or by clip if all show one person."""
    people = sorted({clip.person for clip in clips})
    if len(people) > 1:
        order = torch.randperm(len(people), generator=random).tolist()
        chosen = {people[i] for i in order[: max(1, round(_HELD_OUT * len(people)))]}
        held = [clip.person in chosen for clip in clips]
    else:
        order = torch.randperm(len(clips), generator=random).tolist()
        indices = set(order[: max(1, round(_HELD_OUT * len(clips)))])
        held = [i in indices for i in range(len(clips))]
    return (
        [clip for clip, out in zip(clips, held, strict=True) if not out],
        [clip for clip, out in zip(clips, held, strict=True) if out],
    )


class PairSampler:
    """Samples pairs of different frames of one clip, with optional augmentation.

    Args:
        clips: clips to sample from.
        settings: ``sampling``, ``far_pairs``, ``aperture_pairs`` and ``colour_jitter``.
    """

    def __init__(self, clips: Sequence[Clip], settings: TrainAnimatorSettings) -> None:
        self.clips = clips
        self.settings = settings
        by_person: dict[str, list[int]] = {}
        for i, clip in enumerate(clips):
            by_person.setdefault(clip.person, []).append(i)
        self.people = [by_person[person] for person in sorted(by_person)]

    def sample(self, count: int, random: torch.Generator, augment: bool = True) -> Pairs:
        """Return ``count`` pairs, see ``plan``."""
        return self.batch(self.plan(count, random, augment)).pairs()

    def plan(self, count: int, random: torch.Generator, augment: bool = True) -> list[PairPlan]:
        """Draw ``count`` pairs; ``augment`` flips, jitters colours and prefers far pairs according to the settings."""
        plans = []
        for _ in range(count):
            number = self._clip(random)
            clip = self.clips[number]
            first, second = (self._choose_pair(clip, random) if augment else _pair(clip, random)).tolist()
            plan = PairPlan(number, (first, second))
            plans.append(self._augmented(plan, random) if augment else plan)
        return plans

    def batch(self, plans: Sequence[PairPlan]) -> PairBatch:
        """Read the frames of the pairs."""
        frames = [self.clips[plan.clip].pictures(plan.frames) for plan in plans]
        points = [
            None if (known := self.clips[plan.clip].points) is None else known[list(plan.frames)] for plan in plans
        ]
        return PairBatch.of(frames, points, plans)

    def _clip(self, random: torch.Generator) -> int:
        if self.settings.sampling == "clip":
            return int(torch.randint(len(self.clips), (), generator=random))
        of_person = self.people[int(torch.randint(len(self.people), (), generator=random))]
        return of_person[int(torch.randint(len(of_person), (), generator=random))]

    def _choose_pair(self, clip: Clip, random: torch.Generator) -> Tensor:
        kind = torch.rand((), generator=random).item()
        if kind >= self.settings.far_pairs + self.settings.aperture_pairs:
            return _pair(clip, random)
        candidates = torch.stack([_pair(clip, random) for _ in range(_FAR_CANDIDATES)])
        first, second = candidates.unbind(dim=1)
        if kind < self.settings.far_pairs or clip.points is None:
            difference = (clip.thumbnails[first] - clip.thumbnails[second]).abs().mean(dim=(1, 2, 3))
        else:  # pairs with NaN, i.e. without a face, rank last
            ratios = aperture_ratios(clip.points)
            difference = (ratios[first] - ratios[second]).abs().amax(dim=1).nan_to_num(-1.0)
        return candidates[int(difference.argmax())]

    def _augmented(self, plan: PairPlan, random: torch.Generator) -> PairPlan:
        plan = plan._replace(mirrored=torch.rand((), generator=random).item() < 0.5)
        if jitter := self.settings.colour_jitter:
            gain = 1 + jitter * (2 * torch.rand(3, 1, 1, generator=random) - 1)
            offset = jitter * (2 * torch.rand((), generator=random) - 1) / 2
            plan = plan._replace(gain=gain, offset=offset)
        return plan


def content_digest(clips: Sequence[Clip]) -> str:
    """Return a digest, 16 hex digits, of all clip data that a training depends on."""
    return hashlib.blake2b("\n".join(clip.digest for clip in clips).encode(), digest_size=8).hexdigest()


def load_clip(clip: TrainingClip, settings: TrainAnimatorSettings, cache: Path | None) -> LoadedClip:
    """Load one clip, with facial points if there is a ``cache`` for them; see ``load_clips``."""
    if isinstance(clip.frames, np.ndarray):
        frames, name = clip.frames, f"array of shape {clip.frames.shape} of {clip.person}"
    else:
        # Imported here, because training on arrays needs no video library.
        from deepfakemnist.media.decode import read_clip

        frames, name = read_clip(clip.frames), str(clip.frames)
    if len(frames) < 2:
        raise ConfigError(f"training clip {name} has {len(frames)} frames; a pair needs at least 2")
    if frames.shape[1] != frames.shape[2]:
        raise ConfigError(f"training clip {name} is {frames.shape[2]}×{frames.shape[1]}; it must be square")
    count = min(settings.frames_per_clip, len(frames))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    points = None
    if cache is not None:
        known = clip.points[chosen] if clip.points is not None else _detect_points(frames[chosen], cache)
        points = torch.from_numpy(2 * np.asarray(known, np.float32) / (frames.shape[1] - 1) - 1)
    images = torch.empty(count, 3, settings.size, settings.size, dtype=torch.uint8)
    side = min(THUMBNAIL, settings.size)
    thumbnails = torch.empty(count, 3, side, side)
    # One by one: converting a whole clip to float32 would fragment the heap, which never shrinks again.
    for i, index in enumerate(chosen):
        images[i] = _resized(torch.from_numpy(frames[index]).permute(2, 0, 1), settings.size)
        thumbnails[i] = F.adaptive_avg_pool2d(images[i].float(), side)
    return LoadedClip(images, points, thumbnails, clip.person)


def _resized(image: Tensor, size: int) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    larger = image[None].float()
    resized = F.interpolate(larger, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


def _detect_points(frames: NDArray[np.uint8], cache: Path) -> NDArray[np.float32]:
    """Detect facial points, or return those cached for the same frames."""
    path = cache / f"{hashlib.blake2b(np.ascontiguousarray(frames).data, digest_size=16).hexdigest()}.npy"
    if path.is_file():
        found = np.load(path)
        if found.shape == (len(frames), len(FACIAL_POINTS), 2):
            return np.asarray(found, np.float32)
    found = find_facial_points(frames)
    with atomic_path(path) as part:
        np.save(part, found)
    return found


def aperture_ratios(points: Tensor) -> Tensor:
    """(..., P, 2) facial points → (..., 3): height over width of the apertures of the eyes and the mouth."""
    lengths = [[(points[..., i, :] - points[..., j, :]).norm(dim=-1) for i, j in ends] for ends in (_HEIGHTS, _WIDTHS)]
    return torch.stack(lengths[0], dim=-1) / torch.stack(lengths[1], dim=-1)


def _pair(clip: Clip, random: torch.Generator) -> Tensor:
    return torch.randperm(len(clip), generator=random)[:2]
