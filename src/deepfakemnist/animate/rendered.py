"""Import of clips rendered elsewhere, in the place of animation: verified, brought to the size of the crops.

What is not known of such a clip, such as its start frame or precision, is null in its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np

from deepfakemnist.animate.rendered_table import Pair, RenderedClip, clips_by_pair, read_rendered_clips
from deepfakemnist.animate.stages import frame_to_animate, rows_and_folders, source_frame_of
from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.animators.rendered import RenderedSettings
from deepfakemnist.config.base import MediaLimits
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.limits import limited
from deepfakemnist.media.probe import check_rate, probe
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.file_versions import sha256_in, to_metadata, versions_of
from deepfakemnist.tables.files import remove_part_files, write_table
from deepfakemnist.tables.schemas import ANIMATED, Row
from deepfakemnist.tables.shards import Tally, run_shard


def load(settings: AnimatorSettings, weights: Path | None, device: str) -> NoReturn:
    """Raise ConfigError: nothing renders here."""
    raise ConfigError(f"animator {settings.named}: its clips are rendered elsewhere and imported; nothing renders here")


def import_rendered_shards(
    folders: Mapping[Path, Path],
    table: Path,
    settings: RenderedSettings,
    fps: float,
    code: str,
    max_failed_fraction: float,
    limits: MediaLimits | None = None,
) -> Tally:
    """Import the clip of every planned pair: a lossless ``folder/<video_id>.mp4`` and an ANIMATED row each.

    Args:
        folders: plan of each shard → output folder of its clips. Plan rows that are not ok are skipped.
        table: file to write, with the rows of all shards in this order.
        settings: entry of the config's ``animators``.
        fps: rate of the crops, frames per second.
        code: digest of this code.
        max_failed_fraction: see ``run_shard``.
        limits: on pixels, frames, seconds and memory of a clip; None: the default ones.

    Reasons besides those of :mod:`.container`: rejected with not_rendered, missing_file, length_differs, other_rate,
    not_square or frame_size; failed with source_changed.

    Raises: ConfigError for a missing or invalid table, TooManyFailures.
    """
    if not settings.table.is_file():
        raise ConfigError(
            f"animator {settings.named}: {settings.table} does not exist yet. `deepfakemnist plan export OUT`, with "
            "the same --configfile, writes the pairs to render, and a table to fill in (docs/rendered_elsewhere.md)"
        )
    planned, folder_of = rows_and_folders(folders)
    listed = clips_by_pair(read_rendered_clips(settings.table), settings)
    clips = {row["video_id"]: listed.get(Pair(row["source_id"], row["driver_id"], row["action"])) for row in planned}
    versions = versions_of(clip.path for clip in clips.values() if clip is not None and clip.path)
    rows = [
        {
            **row,
            **source_frame_of(row, settings),
            **_stated(clips[row["video_id"]]),
            "animator": settings.named,
            "listed": clips[row["video_id"]] is not None,
            "clip_sha256": sha256_in(versions, _path_of(clips[row["video_id"]])),
        }
        for row in planned
    ]

    def work(row: Row) -> Row:
        check_unchanged(row["source_path"], row.get("source_clip_sha256"))
        side = len(frame_to_animate(row["source_path"], row["source_frame"]))
        clip = row["clip_path"]
        if clip is None:
            raise Rejected("not_rendered", f"{settings.table} has no row of animator {settings.named} for this pair")
        if not Path(clip).is_file():
            raise Rejected("missing_file", f"{clip or 'the path is empty'}: no such file, says {settings.table}")
        with limited(limits or MediaLimits(), clip):
            facts = probe(clip)
            if facts["sha256"] != row["clip_sha256"]:
                raise Failed("source_changed", f"{clip}: replaced while it was imported; run the same command again")
            _check(clip, facts, row["motion_frames"], side, fps)
            target = folder_of[row["video_id"]] / f"{row['video_id']}.mp4"
            written = write_working_clip(target, _reduced(clip, side), fps)
        return {
            **written.columns(),
            "motion_mode": settings.motion_mode,
            "rendered_size": facts["display_width"],
        }

    def finish(made: list[Row], path: Path, metadata: dict[str, str]) -> None:
        write_table(made, path, ANIMATED, {**metadata, **to_metadata(versions)})

    return run_shard(
        rows,
        table,
        ANIMATED,
        work,
        code=code,
        settings=settings.rendering,
        inputs=f"{fps} {limits}",
        depends_on=("video_id", "source_pixels_sha256", "source_frame", "motion_frames", "listed", "clip_sha256"),
        max_failed_fraction=max_failed_fraction,
        finish=finish,
        begin=lambda _: remove_part_files(table, *folders.values()),
    )


def _path_of(clip: RenderedClip | None) -> str | None:
    return None if clip is None else clip.path


def _stated(clip: RenderedClip | None) -> Row:
    """Return what the table says of a clip."""
    return {
        "clip_path": _path_of(clip),
        "animator_licence": clip.licence if clip else "",
        "checkpoint_sha256": clip.weights_sha256 if clip else "",
        "mouth_from": clip.mouth_from if clip else "",
    }


def _check(path: str, facts: Mapping[str, Any], frames: int, side: int, fps: float) -> None:
    """Raise Rejected for a clip of another rate, length or shape than the plan's."""
    check_rate(path, facts, fps)
    if facts["frames"] != frames:
        raise Rejected("length_differs", f"{path}: {facts['frames']} frames; the driver has {frames}")
    width, height = facts["display_width"], facts["display_height"]
    if width != height:
        raise Rejected("not_square", f"{path}: {width}x{height} pixels; the crop is {side}x{side}")
    if width < side:
        raise Rejected("frame_size", f"{path}: {width}x{height} pixels, smaller than the crop, which is {side}x{side}")


def _reduced(path: str, side: int) -> Iterator[np.ndarray]:
    """Yield the frames, reduced by area to the side of the crop: their size must not tell the class."""
    for frame in read_frames(path):
        if len(frame) == side:
            yield frame
        else:
            yield np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA))
