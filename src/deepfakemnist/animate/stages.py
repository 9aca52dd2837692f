"""Workflow stages of animation: motion extraction from drivers, animation of planned source-driver pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from deepfakemnist.animate.pipeline import RenderAhead
from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.registry import load_animator, uses_gpu
from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.media.decode import read_clip, read_frame
from deepfakemnist.media.writer_processes import WriterProcesses
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.columns import FRAME_SCORES
from deepfakemnist.tables.files import read_rows, remove_part_files
from deepfakemnist.tables.schemas import ANIMATED, MOTIONS, OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

#: Rendered clips that may wait for a writer or to be taken on a GPU, besides those being written; bounds memory.
_WAITING_ON_GPU = 2


def extract_motion_shard(
    crops: Path,
    weights: Path | None,
    table: Path,
    folder: Path,
    settings: AnimatorSettings,
    code: str,
    max_failed_fraction: float,
    device: str = "auto",
) -> Tally:
    """Extract the motion of every cropped driver of a shard: ``folder/<video_id>.npz`` and a MOTIONS row each.

    Crops that are not ok are skipped; their own table gives the reason.

    Raises: ConfigError for unusable weights, TooManyFailures; nothing for a bad clip.
    """
    return extract_motion_shards({crops: folder}, weights, table, settings, code, max_failed_fraction, device)


def extract_motion_shards(
    folders: Mapping[Path, Path],
    weights: Path | None,
    table: Path,
    settings: AnimatorSettings,
    code: str,
    max_failed_fraction: float,
    device: str = "auto",
) -> Tally:
    """Same as ``extract_motion_shard`` for the shards of one job.

    Args:
        folders: crop table of each shard → output folder of its motions.
        table: file to write, with the rows of all shards in this order.
    """
    animator = load_animator(settings, weights, device)
    sha256 = animator.info.weights_sha256 or ""
    rows, folder_of = rows_and_folders(folders)

    def extract_motion(row: Row) -> Row:
        check_unchanged(row["path"], row.get("sha256"))
        motion = animator.prepare_driving(read_clip(row["path"]))
        motion.check(animator.info.motion)
        path = folder_of[row["video_id"]] / f"{row['video_id']}.npz"
        stored = motion.save(path)
        return {
            "path": str(path),
            "frames": len(motion),
            "bytes": stored.bytes,
            "sha256": stored.sha256,
            "animator": settings.named,
            "checkpoint_sha256": sha256,
        }

    return run_shard(
        rows,
        table,
        MOTIONS,
        extract_motion,
        code=code,
        settings=settings.rendering,
        inputs=sha256,
        depends_on=("video_id", "pixels_sha256"),
        max_failed_fraction=max_failed_fraction,
        begin=lambda _: remove_part_files(table, *folders.values()),
    )


def animate_shard(
    plan: Path,
    weights: Path | None,
    table: Path,
    folder: Path,
    settings: AnimatorSettings,
    fps: float,
    code: str,
    max_failed_fraction: float,
    device: str = "auto",
    writers: int = 2,
) -> Tally:
    """Animate every planned pair of a shard: a lossless ``folder/<video_id>.mp4`` and an ANIMATED row each.

    Plan rows that are not ok are skipped; the plan gives the reason. Of a source, only the frame to animate is decoded.
    On a GPU ``writers`` clips are encoded in parallel, one process and core each, while the next are read and rendered.

    Raises: ConfigError for unusable weights, or motions of other weights; TooManyFailures; nothing for a bad pair.
    """
    return animate_shards({plan: folder}, weights, table, settings, fps, code, max_failed_fraction, device, writers)


def animate_shards(
    folders: Mapping[Path, Path],
    weights: Path | None,
    table: Path,
    settings: AnimatorSettings,
    fps: float,
    code: str,
    max_failed_fraction: float,
    device: str = "auto",
    writers: int = 2,
) -> Tally:
    """Same as ``animate_shard`` for the shards of one job; the GPU does not idle between them.

    Args:
        folders: plan of each shard → output folder of its clips.
        table: file to write, with the rows of all shards in this order.
    """
    animator = load_animator(settings, weights, device)
    info = animator.info
    rows, folder_of = rows_and_folders(folders)
    _check_weights(rows, info.weights_sha256 or "")
    planned = {row["motion_path"]: row.get("motion_sha256") for row in rows}
    # Plans of version 0.2 hold no hashes of motions, and a driver may have been cropped again.
    motions = {path: _digest_file(path) for path in planned}
    rows = [{**row, "motion_sha256": motions[row["motion_path"]], **source_frame_of(row, settings)} for row in rows]

    def load(row: Row) -> tuple[Motion, np.ndarray]:
        check_unchanged(row["motion_path"], planned[row["motion_path"]])
        check_unchanged(row["source_path"], row.get("source_clip_sha256"))
        motion = Motion.load(row["motion_path"])
        if len(motion) != row["motion_frames"]:
            raise Failed(
                "motion_changed",
                f"{row['motion_path']} has {len(motion)} frames, the plan expects {row['motion_frames']}",
            )
        motion.check(info.motion)
        return motion, frame_to_animate(row["source_path"], row["source_frame"])

    def render(row: Row, loaded: tuple[Motion, np.ndarray]) -> _Animation:
        motion, image = loaded
        state = animator.prepare_source(image)
        sizes = set[int]()
        frames = []
        for frame in animator.render(state, motion):
            sizes.add(len(frame))
            frames.append(reduced(frame, len(image)))
        return _Animation(
            frames,
            max(sizes),
            animator.start_of(state, motion),
            animator.mouth_from(state, motion),
            animator.info.precision,  # read per clip: a source of another size may change it
        )

    def write(row: Row, made: _Animation) -> Row:
        path = folder_of[row["video_id"]] / f"{row['video_id']}.mp4"
        clip = clips.write(path, made.frames, fps)
        return {
            **clip.columns(),
            "animator": settings.named,
            "animator_licence": info.licence,
            "motion_mode": settings.motion_mode,
            "adapt_scale": settings.scales_motion,
            "start_frame": made.start_frame,
            "mouth_from": made.mouth_from,
            "align_corners": info.align_corners,
            "precision": made.precision,
            "rendered_size": made.rendered_size,
            "framing": info.framing,
            "reproducible_pixels": "every_processor" if info.pixels_everywhere else "one_processor",
            "checkpoint_sha256": info.weights_sha256 or "",
        }

    depth = writers + _WAITING_ON_GPU if uses_gpu(device) else 0
    clips = WriterProcesses(writers if depth else 0)
    with ExitStack() as stack:
        ahead: RenderAhead[Row, tuple[Motion, np.ndarray], _Animation, Row]

        def begin(remaining: list[Row]) -> None:
            nonlocal ahead
            remove_part_files(table, *folders.values())
            stack.enter_context(clips)
            ahead = stack.enter_context(RenderAhead(remaining, load, render, write, depth=depth, writers=writers))

        return run_shard(
            rows,
            table,
            ANIMATED,
            lambda row: ahead.take(row),
            code=code,
            settings=settings.rendering,
            inputs=f"{info.weights_sha256} {fps}",
            depends_on=("video_id", "source_pixels_sha256", "source_frame", "motion_sha256", "motion_frames"),
            max_failed_fraction=max_failed_fraction,
            begin=begin,
        )


class _Animation(NamedTuple):
    """Frames of one fake, and what is recorded of them."""

    frames: list[np.ndarray]
    rendered_size: int
    start_frame: int
    mouth_from: str
    precision: str


def _check_weights(rows: Iterable[Row], sha256: str) -> None:
    """Raise ConfigError if a motion comes from other weights, whose keypoints mean something else."""
    other = {row["motion_path"]: row["motion_checkpoint_sha256"] for row in rows}
    other = {path: found for path, found in other.items() if (found or "") != sha256}
    if other:
        path, found = next(iter(other.items()))
        raise ConfigError(
            f"{len(other)} motions were extracted with other animator weights than these, which have sha256 "
            f"{sha256 or '(none)'}; the first is {path}, extracted with {found or '(none)'}. The weights were replaced "
            "during the run: run the same command again, which extracts the motions with the new ones"
        )


def rows_and_folders(folders: Mapping[Path, Path]) -> tuple[list[Row], dict[str, Path]]:
    """Return the ok rows of all tables, and the output folder of each video."""
    rows_of = {folder: _ok_rows([table]) for table, folder in folders.items()}
    rows = [row for rows in rows_of.values() for row in rows]
    return rows, {row["video_id"]: folder for folder, rows in rows_of.items() for row in rows}


def _ok_rows(tables: Iterable[Path]) -> list[Row]:
    """Return the ok rows without the status columns, which belong to the previous stage."""
    status = ("status", "reason", "detail")
    return [
        {name: value for name, value in row.items() if name not in status}
        for row in read_rows(tables)
        if row["status"] == OK
    ]


def source_frame_of(row: Row, settings: AnimatorSettings) -> Row:
    """Return the frame to animate of a planned pair, and its scores if the plan has them for that frame."""
    if settings.source_frame != "best":
        return {"source_frame": settings.source_frame}
    scores = {f"source_{name}": row.get(f"best_{name}") for name in FRAME_SCORES}
    return {"source_frame": row.get("best_frame"), **scores}


def frame_to_animate(path: str, index: int | None) -> np.ndarray:
    """Return the frame to animate."""
    if index is None:
        raise Failed("no_best_frame", f"the plan names no best frame of {path}; set animator.source_frame to a number")
    try:
        return read_frame(path, index)
    except IndexError as error:
        raise Rejected("source_frame_missing", f"{error} (animator.source_frame)") from error


def reduced(frame: np.ndarray, side: int) -> np.ndarray:
    """Return a square frame (H, W, 3), reduced by area to the side of the crop: its size must not tell the class."""
    if len(frame) == side:
        return frame
    if len(frame) < side:
        raise Failed("frame_size", f"the animator rendered {len(frame)} pixels for a source of {side}")
    return np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA))


def _digest_file(path: str) -> str:
    """Return the sha256 of a file, empty for a missing one, which later fails the row of its pair."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""
