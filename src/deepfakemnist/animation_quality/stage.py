"""Workflow stage of animation quality: scores every fake against its driver and source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animation_quality.judge import METRICS, assess_clip
from deepfakemnist.config.stages import AnimationQualitySettings
from deepfakemnist.errors import Failed
from deepfakemnist.faces.identity import FaceEmbedder
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks
from deepfakemnist.media.decode import read_clip, read_frame
from deepfakemnist.tables.checksums import check_unchanged
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import ANIMATION_QUALITY, OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

#: Drivers whose landmarks are kept for the other fakes of a shard: 6 kB a frame, and drivers alternate from row to row.
_DRIVERS_KEPT = 64
#: Metrics of fakes; the others need self-reenactment, i.e. a driver that is the clip of the source.
_OF_FAKES = [metric for metric in METRICS if metric not in ("reconstruction_l1", "keypoint_error")]


def assess_shard(
    animations: Path,
    source_crops: Sequence[Path],
    driver_crops: list[Path],
    table: Path,
    settings: AnimationQualitySettings,
    code: str,
    max_failed_fraction: float,
) -> Tally:
    """Score every ok animation of a shard and write an ANIMATION_QUALITY row each.

    Args:
        animations: ANIMATED table of the shard.
        source_crops: CROPPED tables with the sources of the shard.
        driver_crops: CROPPED tables of all drivers; their people are the reference for chance similarity.
        table: table to write.
        settings: density of the evaluated frames.
        code: digest of the code behind the stage.
        max_failed_fraction: see ``shards.run_shard``.

    Raises: TooManyFailures; nothing for a clip that cannot be scored.
    """
    rows = [row for row in read_rows(animations) if row["status"] == OK]
    sources = {row["video_id"]: row["path"] for row in read_rows(source_crops)}
    drivers = {row["video_id"]: row for row in read_rows(driver_crops) if row["status"] == OK}
    hashes_of = {row["video_id"]: row.get("sha256") for row in rows}
    landmarker, embedder = FaceLandmarker(), FaceEmbedder()
    crops = {row["path"]: row.get("sha256") for row in [*read_rows(source_crops), *drivers.values()]}

    def unchanged(path: str) -> str:
        check_unchanged(path, crops[path])
        return path

    @lru_cache(_DRIVERS_KEPT)
    def faces_of(driver: str, frames: int) -> list[FaceLandmarks | None]:
        return landmarker.track(read_clip(unchanged(driver))[:frames][:: settings.every])

    people = _embeddings(list(drivers.values()), embedder) if rows else {}

    def assess(row: Row) -> Row:
        if row["driver_id"] not in drivers:
            raise Failed("driver_gone", f"driver {row['driver_id']} no longer has a crop; was it cropped again?")
        check_unchanged(row["path"], hashes_of.get(row["video_id"]))
        others = [embedding for person, embedding in people.items() if person != row["person_id"]]
        quality = assess_clip(
            read_frame(unchanged(sources[row["source_id"]]), row["source_frame"]),
            [],
            read_clip(row["path"]),
            row["action"],
            landmarker,
            embedder,
            np.stack(others) if others else np.empty((0, 128), np.float32),
            every=settings.every,
            driver_faces=faces_of(drivers[row["driver_id"]]["path"], row["frames"]),
        )
        return {metric: getattr(quality, metric) for metric in _OF_FAKES}

    names = ("video_id", "source_id", "driver_id", "person_id", "action", "split", "animator", "path", "pixels_sha256")
    columns = (*names, "frames", "source_frame")
    hashes = " ".join(sorted(str(row["pixels_sha256"]) for row in drivers.values()))
    return run_shard(
        [{name: row[name] for name in columns} for row in rows],
        table,
        ANIMATION_QUALITY,
        assess,
        code=code,
        settings=settings,
        inputs=hashes,
        depends_on=[name for name in columns if name not in ("path", "split", "animator")],
        max_failed_fraction=max_failed_fraction,
    )


def _embeddings(drivers: list[Row], embedder: FaceEmbedder) -> dict[str, NDArray[np.float32]]:
    """Return one face embedding per person of the drivers, by ``person_id``."""
    found: dict[str, NDArray[np.float32]] = {}
    for row in sorted(drivers, key=lambda row: row["video_id"]):
        if row["person_id"] not in found:
            embedding = embedder(read_frame(row["path"], 0))
            if embedding is not None:
                found[row["person_id"]] = embedding
    return found
