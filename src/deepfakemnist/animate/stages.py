"""The workflow's stages of animation: train an animator, keep each driver's motion, animate the plan."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from deepfakemnist.animate.checkpoint import checkpoint_sha256
from deepfakemnist.animate.fomm import PRECISION, FommAnimator
from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.training import train_animator
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.ids import seed_from
from deepfakemnist.media.decode import read_clip, read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.settings import AnimatorSettings
from deepfakemnist.shards import Tally, run_shard
from deepfakemnist.tables import ANIMATED, MOTIONS, OK, Row, read_rows

log = logging.getLogger(__name__)


def train_animator_stage(
    crop_tables: list[Path],
    driver_crop_tables: list[Path],
    people: set[str] | None,
    checkpoint: Path,
    report: Path,
    settings: AnimatorSettings,
    seed: int,
    device: str = "auto",
) -> None:
    """Train an animator on the run's own crops; write its weights and a JSON report.

    Args:
        crop_tables: crops of the sources.
        driver_crop_tables: crops of the drivers, all of which are used.
        people: ``person_id`` of the sources to use, so that nobody of val or test is trained on; None is all.
        checkpoint: weights to write.
        report: JSON to write, see ``TrainingReport``.
        settings: architecture and training.
        seed: see ``train_animator``.
        device: ``auto`` takes CUDA where there is one.

    Raises: ConfigError when fewer than two crops are usable, and what ``train_animator`` raises.
    """
    usable = [row for row in _ok_rows(crop_tables) if people is None or row["person_id"] in people]
    usable.sort(key=lambda row: seed_from(seed, "train animator", row["video_id"]))
    sources = usable[: settings.train.max_sources]
    drivers = _ok_rows(driver_crop_tables)
    # In order of their names, so that the number of shards changes nothing.
    paths = [Path(row["path"]) for row in sorted(sources + drivers, key=lambda row: (row["video_id"], row["path"]))]
    if len(paths) < 2:
        chosen = "all people" if people is None else f"the {len(people)} chosen people"
        raise ConfigError(
            f"training an animator needs at least 2 usable crops; there are {len(sources)} of {chosen} and "
            f"{len(drivers)} drivers. Add videos, or name official weights in animator.weights"
        )
    log.info("training the animator on %d of %d sources and %d drivers", len(sources), len(usable), len(drivers))
    result = train_animator(
        paths, checkpoint, settings.model, settings.train, settings.align_corners, seed=seed, device=device
    )
    result.save(report)


def drive_shard(
    crops: Path,
    checkpoint: Path,
    table: Path,
    folder: Path,
    settings: AnimatorSettings,
    code: str,
    max_failed_fraction: float,
    device: str = "auto",
) -> Tally:
    """Compute the motion of every cropped driver of a shard: ``folder/<video_id>.npz`` and a MOTIONS row each.

    Crops that are not ok are left out; their own table says why.

    Raises: ConfigError for unusable weights, TooManyFailures; nothing for a bad clip.
    """
    sha256 = checkpoint_sha256(checkpoint)
    animator = _load(checkpoint, settings, device)

    def drive(row: Row) -> Row:
        motion = animator.prepare_driving(read_clip(row["path"]))
        path = folder / f"{row['video_id']}.npz"
        motion.save(path)
        return {
            "path": str(path),
            "frames": len(motion),
            "animator": settings.name,
            "checkpoint_sha256": sha256,
        }

    return run_shard(
        *(_ok_rows([crops]), table, MOTIONS, drive),
        code=code,
        settings=_without_training(settings),
        inputs=sha256,
        max_failed_fraction=max_failed_fraction,
    )


def animate_shard(
    plan: Path,
    checkpoint: Path,
    table: Path,
    folder: Path,
    settings: AnimatorSettings,
    fps: float,
    code: str,
    max_failed_fraction: float,
    device: str = "auto",
) -> Tally:
    """Animate every planned pair of a shard: a lossless ``folder/<video_id>.mp4`` and an ANIMATED row each.

    Plan rows that are not ok are left out; the plan says why. Only the one frame wanted of a source is decoded.

    Raises: ConfigError for unusable weights, TooManyFailures; nothing for a bad pair.
    """
    sha256 = checkpoint_sha256(checkpoint)
    animator = _load(checkpoint, settings, device)
    rows = _ok_rows([plan])

    def animate(row: Row) -> Row:
        motion = Motion.load(row["motion_path"])
        if len(motion) != row["motion_frames"]:
            raise Failed(
                "motion_changed",
                f"{row['motion_path']} has {len(motion)} frames, the plan was made for {row['motion_frames']}",
            )
        state = animator.prepare_source(_frame(row["source_path"], settings.source_frame))
        path = folder / f"{row['video_id']}.mp4"
        clip = write_working_clip(path, animator.render(state, motion), fps)
        return {
            "path": str(path),
            "frames": clip.frames,
            "pixels_sha256": clip.pixels_sha256,
            "source_frame": settings.source_frame,
            "animator": settings.name,
            "motion_mode": settings.motion,
            "align_corners": settings.align_corners,
            "precision": PRECISION,
            "checkpoint_sha256": sha256,
        }

    return run_shard(
        *(rows, table, ANIMATED, animate),
        code=code,
        settings=_without_training(settings),
        # The plan holds the sources' pixel hashes but not the motions', and a driver may have been cropped anew.
        inputs=f"{sha256} {fps} {_digest_files(row['motion_path'] for row in rows)}",
        max_failed_fraction=max_failed_fraction,
    )


def _load(checkpoint: Path, settings: AnimatorSettings, device: str) -> FommAnimator:
    # weights_sha256 speaks of the user's weights, not of those this run trained.
    wanted = settings.weights_sha256 if settings.weights is not None else None
    return FommAnimator.from_checkpoint(checkpoint, settings, sha256=wanted, device=device)


def _ok_rows(tables: Iterable[Path]) -> list[Row]:
    """Return the rows that are ok, without their status: they carry that of their own stage."""
    status = ("status", "reason", "detail")
    return [
        {name: value for name, value in row.items() if name not in status}
        for row in read_rows(tables)
        if row["status"] == OK
    ]


def _without_training(settings: AnimatorSettings) -> BaseModel:
    """Leave out what shaped the weights: their sha256 already says it."""
    return settings.model_copy(update={"train": type(settings.train)(), "weights": None, "weights_sha256": None})


def _frame(path: str, index: int) -> np.ndarray:
    """Return one frame, decoding no further than it."""
    for frame in islice(read_frames(path), index, None):
        return frame
    raise Rejected("source_frame_missing", f"{path} ends before frame {index} (animator.source_frame, from 0)")


def _digest_files(paths: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        # A missing one becomes the failed row of its pair.
        content = Path(path).read_bytes() if Path(path).is_file() else b""
        digest.update(f"{path} {len(content)} ".encode() + content)
    return digest.hexdigest()
