"""Import of the clips of a published dataset tree: verified by a full decode, checked against the frame rate.

Imported clips join the workflow after ``select``. A clip whose rate is not ``crop.fps`` is rejected, because the encode
chain writes the whole dataset at one rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.media.container import every_frame, open_video
from deepfakemnist.media.limits import limited
from deepfakemnist.media.picture import Picture
from deepfakemnist.media.pixels import PixelHash
from deepfakemnist.media.probe import check_rate, probe
from deepfakemnist.tables.file_versions import sha256_in, to_metadata, versions_of
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import RELEASED_CLIPS, Row
from deepfakemnist.tables.shards import Tally, run_shard


def import_released_shard(
    rows: Sequence[Row],
    table: Path,
    *,
    fps: float,
    code: str,
    max_failed_fraction: float = 1.0,
    limits: MediaLimits | None = None,
) -> Tally:
    """Verify every clip of a shard and write one RELEASED_CLIPS row each; the files stay in place.

    Args:
        rows: clips from :func:`deepfakemnist.sources.released_trees.read_dfmnist`.
        table: table to write.
        fps: configured frame rate of the dataset, frames per second.
        code: digest of this code.
        max_failed_fraction: see ``run_shard``.
        limits: on pixels, frames, seconds and memory; None: the default ones.

    Reasons in addition to those of reading a video: rejected with other_rate.
    """
    versions = versions_of(row["path"] for row in rows)
    clips = [
        {**{name: row[name] for name in RELEASED_CLIPS.names if name in row}, "file": sha256_in(versions, row["path"])}
        for row in rows
    ]

    def finish(made: list[Row], path: Path, metadata: dict[str, str]) -> None:
        write_table(made, path, RELEASED_CLIPS, {**metadata, **to_metadata(versions)})

    return run_shard(
        clips,
        table,
        RELEASED_CLIPS,
        partial(import_released_clip, fps=fps, limits=limits),
        code=code,
        settings=limits,
        inputs=str(fps),
        depends_on=("video_id", "path", "file"),
        finish=finish,
        max_failed_fraction=max_failed_fraction,
    )


def import_released_clip(row: Row, fps: float, limits: MediaLimits | None = None) -> Row:
    """Return the RELEASED_CLIPS columns of a clip. Raises: Failed, Rejected; see :func:`import_released_shard`."""
    with limited(limits or MediaLimits(), row["path"]):
        return _import_clip(row, fps)


def _import_clip(row: Row, fps: float) -> Row:
    facts = probe(row["path"])
    check_rate(row["path"], facts, fps)
    pixels = PixelHash()
    with open_video(row["path"]) as video:
        for frame in every_frame(video):
            picture = Picture(frame)
            pixels.update(picture.rgb())
    return {
        "frames": pixels.frames,
        "fps": facts["fps"],
        "width": picture.width,
        "height": picture.height,
        "source_sha256": facts["sha256"],
        "pixels_sha256": pixels.hexdigest(),
    }
