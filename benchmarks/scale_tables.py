"""Synthetic tables of a dataset without media, for the benchmark of the stages after the shards.

Columns are written whole with pyarrow, so that the tables of 200,000 videos take seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.dataset.clip_facts import CLIP_FACTS
from deepfakemnist.dataset.file_facts import CONTAINER_TEXTS
from deepfakemnist.tables.dataset_schemas import PREDICTIONS, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import (
    ANIMATED,
    ANIMATION_QUALITY,
    COMPRESSED,
    CROPPED,
    FRAMES,
    IDENTITIES,
    INGESTED,
    MOTIONS,
    PLANNED,
    SELECTED,
    VERDICTS,
)  # fmt: skip

QUALITIES = ("raw", "c23", "c40")
#: Reals per person and drivers in all.
_VIDEOS_PER_PERSON, _DRIVERS = 2, 100
#: Stages before compress, by what they make.
_STAGES = {
    "source": {"ingest/source": INGESTED, "crop/source": CROPPED},
    "fake": {"plan": PLANNED, "animate": ANIMATED, "select": SELECTED},
}
#: Frames of a clip that a detector scores; the default of ``frames.per_clip``.
FRAMES_SCORED = 16


class Clips:
    """Half reals and half fakes, one of each real, with their splits.

    Args:
        videos: number of videos.
    """

    def __init__(self, videos: int) -> None:
        reals = videos // 2
        number = np.arange(reals)
        person = np.char.add("id", np.char.zfill((number // _VIDEOS_PER_PERSON).astype(str), 6))
        source = np.char.add(np.char.add(person, "#s"), np.char.zfill(number.astype(str), 6))
        driver = np.char.add("d", np.char.zfill((number * 7 % _DRIVERS).astype(str), 3))
        split = np.repeat(
            np.array(["train", "val", "test"])[np.searchsorted([70, 85], number // 2 * 37 % 100, "right")], 1
        )
        action = np.array(ACTIONS)[number % len(ACTIONS)]
        none = np.full(reals, "")
        self.columns: dict[str, np.ndarray] = {
            "video_id": np.concatenate([source, np.char.add(np.char.add(source, "@"), driver)]),
            "label": np.repeat([0, 1], reals),
            "person_id": np.tile(person, 2),
            "source_id": np.tile(source, 2),
            "split": np.tile(split, 2),
            "action": np.concatenate([none, action]),
            "driver_id": np.concatenate([none, driver]),
            "driver_person_id": np.concatenate([none, driver]),
        }

    def rows(self, chosen: Any = slice(None), repeats: int = 1) -> dict[str, np.ndarray]:
        """Return the columns of some clips, each row so many times."""
        return {name: np.repeat(column[chosen], repeats) for name, column in self.columns.items()}


def filled(schema: pa.Schema, columns: Mapping[str, Any], rows: int) -> pa.Table:
    """Return a table with the given columns; the others hold an empty text, null or a value for each type."""

    def column(field: pa.Field) -> Any:
        if field.name in columns:
            value = columns[field.name]
            return (
                pa.array(value, field.type)
                if isinstance(value, np.ndarray)
                else pa.repeat(value, rows).cast(field.type)
            )
        return pa.repeat("", rows) if field.type == pa.string() else pa.nulls(rows, field.type)

    return pa.table([column(field) for field in schema], schema=schema)


def write_predictions(folder: Path, clips: Clips, detector: str, trained_on: str, seed: int) -> Path:
    """Write the predictions of a run on val and test at every quality, as a trained detector makes them."""
    scored = clips.rows(clips.columns["split"] != "train", FRAMES_SCORED * len(QUALITIES))
    count = len(scored["label"])
    random = np.random.default_rng([seed, sum(map(ord, detector + trained_on))])
    # A clip has a difficulty of its own, so that its frames agree.
    own = np.repeat(random.normal(size=count // FRAMES_SCORED), FRAMES_SCORED)
    logit = (2.0 * scored["label"] - 1.0 + own + random.normal(size=count)).astype(np.float32)
    columns = {name: scored[name] for name in ("video_id", "label", "action", "person_id", "split")}
    columns |= {
        "quality": np.tile(np.repeat(np.array(QUALITIES), FRAMES_SCORED), count // FRAMES_SCORED // len(QUALITIES)),
        "frame_index": np.tile(np.arange(FRAMES_SCORED) * 4, count // FRAMES_SCORED),
        "logit": logit,
        "score": (1 / (1 + np.exp(-logit))).astype(np.float32),
        "seed": np.full(count, seed),
        "detector": np.full(count, detector),
        "trained_on": np.full(count, trained_on),
        "checkpoint_sha256": np.full(count, "0" * 64),
    }
    path = folder / detector / trained_on / f"seed{seed}" / "predictions.parquet"
    write_table(filled(PREDICTIONS, columns, count), path, PREDICTIONS)
    return path


def write_videos(folder: Path, clips: Clips, qualities: tuple[str, ...] = QUALITIES) -> Path:
    """Write the videos table of the manifest."""
    rows = clips.rows(repeats=len(qualities))
    count = len(rows["label"])
    quality = np.tile(np.array(qualities), count // len(qualities))
    paths = np.char.add(np.char.add(rows["video_id"], "/"), np.char.add(quality, ".mp4"))
    columns = rows | {
        "quality": quality,
        "split_driver": rows["split"],
        "split_paper": rows["split"],
        "fold": np.repeat(np.arange(count // len(qualities)) // 2 % 5, len(qualities)),
        "path": paths,
        "bytes": np.full(count, 100_000),
        "frames": np.full(count, 64),
        "fps": np.full(count, 25.0),
        "width": np.full(count, 256),
        "height": np.full(count, 256),
        "encoder": np.full(count, '{"codec": "libx264"}'),
        "sha256": np.full(count, "0" * 64),
        "synthetic": rows["label"] == 1,
        "animator": np.where(rows["label"] == 1, "fomm", ""),
    }
    path = folder / "manifest" / "videos.parquet"
    write_table(filled(VIDEOS, columns, count), path, VIDEOS)
    return path


def write_facts(folder: Path, clips: Clips, qualities: tuple[str, ...] = QUALITIES) -> Path:
    """Write the facts of the audit: containers alike, and sizes and pictures that differ little between the classes."""
    rows = clips.rows(repeats=len(qualities))
    count = len(rows["label"])
    random = np.random.default_rng(count)
    columns: dict[str, Any] = {
        "video_id": rows["video_id"],
        "quality": np.tile(np.array(qualities), count // len(qualities)),
    }
    for field in CLIP_FACTS:
        kind, _, name = field.name.partition(": ")
        if name in CONTAINER_TEXTS:
            columns[field.name] = np.full(count, name * 20)
        elif kind == "container":
            columns[field.name] = np.full(count, 64.0)
        elif kind:
            columns.setdefault(field.name, random.normal(size=count) + 0.02 * rows["label"])
    path = folder / "audit" / "facts.parquet"
    write_table(filled(CLIP_FACTS, columns, count), path, CLIP_FACTS)
    return path


def write_stages(folder: Path, clips: Clips, frames: int, shards: int = 50, own_files: bool = False) -> dict[str, Any]:
    """Write the tables of every stage that the manifest joins, and one file that stands for every clip.

    Args:
        folder: folder to write.
        clips: the dataset.
        frames: frames sampled of a clip.
        shards: number of tables per stage and class.
        own_files: write a small file for every clip and quality instead.

    Returns: arguments of StageTables, and ``split_of``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / "clip.mp4"
    clip.write_bytes(b"x" * 10)
    columns, half = clips.columns, len(clips.columns["label"]) // 2
    ok = {"status": "ok", "code": "c0de", "path": str(clip), "frames": 64, "bytes": 10, "fps": 25.0}
    drivers = np.array([f"d{number:03d}" for number in range(_DRIVERS)])
    paths: dict[str, list[Path]] = defaultdict(list)

    def write(stage: str, shard: int, schema: pa.Schema, values: Mapping[str, Any], rows: int) -> None:
        path = folder / stage / f"{shard:03d}.parquet"
        write_table(filled(schema, {**ok, **values}, rows), path, schema)
        paths[stage].append(path)

    of_drivers = {"video_id": drivers, "person_id": drivers, "role": "driver", "action": "nod"}
    for stage, schema in (("ingest/driver", INGESTED), ("crop/driver", CROPPED), ("extract_motion", MOTIONS)):
        write(stage, 0, schema, of_drivers, _DRIVERS)
    for shard, numbers in enumerate(np.array_split(np.arange(half), shards)):
        for kind, chosen in (("source", numbers), ("fake", numbers + half)):
            rows = {name: column[chosen] for name, column in columns.items()} | {"round": 1}
            for stage, schema in _STAGES[kind].items():
                write(stage, shard, schema, rows, len(chosen))
            kind = "real" if kind == "source" else kind
            encoded = {name: np.repeat(column[chosen], len(QUALITIES)) for name, column in columns.items()}
            encoded |= {"quality": np.tile(np.array(QUALITIES), len(chosen)), "encoder": '{"codec": "libx264"}'}
            encoded |= {"ffmpeg_argv": "-option value " * 40, "ffmpeg_version": "ffmpeg version 7.1 " * 4}
            count = len(chosen) * len(QUALITIES)
            pixels = np.char.add(encoded["video_id"], encoded["quality"])
            if own_files:
                encoded["path"] = np.array([write_file(folder, name) for name in pixels.tolist()])
            write(f"compress/{kind}", shard, COMPRESSED, encoded | {"pixels_sha256": pixels}, count)
            stills = {name: np.repeat(encoded[name], frames) for name in ("video_id", "label", "quality")}
            stills["frame_index"] = np.tile(np.arange(frames), count)
            write(f"frames/{kind}", shard, FRAMES, stills, count * frames)
    split_of = dict(zip(columns["video_id"][:half].tolist(), columns["split"][:half].tolist(), strict=True))
    tables = {
        "ingest": {role: paths[f"ingest/{role}"] for role in ("source", "driver")},
        "crop": {role: paths[f"crop/{role}"] for role in ("source", "driver")},
        **{stage: paths[stage] for stage in ("extract_motion", "plan", "animate", "select")},
        "compress": {kind: paths[f"compress/{kind}"] for kind in ("real", "fake")},
        "frames": {kind: paths[f"frames/{kind}"] for kind in ("real", "fake")},
    }
    return {"tables": tables, "split_of": split_of}


def write_identities(folder: Path, clips: Clips) -> None:
    """Write the face embedding of every real: of one person about 0.3 apart, of two about 0.9."""
    reals = clips.rows(clips.columns["label"] == 0)
    count = len(reals["label"])
    random = np.random.default_rng(count)
    _, person = np.unique(reals["person_id"], return_inverse=True)
    embeddings = random.normal(size=(person.max() + 1, 128))[person] * 0.055 + random.normal(size=(count, 128)) * 0.018
    columns = {name: pa.array(reals[name]) for name in ("video_id", "person_id")}
    columns |= {"status": pa.repeat("ok", count), "faces": pa.repeat(8, count).cast(pa.int32())}
    columns["embedding"] = pa.array(list(embeddings.astype(np.float32)), IDENTITIES.field("embedding").type)
    table = pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in IDENTITIES], schema=IDENTITIES)
    write_table(table, folder / "identify.parquet", IDENTITIES)


def write_file(folder: Path, name: str) -> str:
    """Write a file of ten bytes, in one of a few hundred folders."""
    path = folder / "files" / name[:6] / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10)
    return str(path)


def write_verdicts(folder: Path, clips: Clips) -> dict[str, list[Path]]:
    """Write the answers of two liveness providers about every fake, and the quality of the fakes."""
    fakes = clips.rows(clips.columns["label"] == 1)
    count = len(fakes["label"])
    random = np.random.default_rng(count)
    made: dict[str, list[Path]] = {"verdicts": []}
    for provider in ("local-silent", "local-action"):
        score = random.random(count)
        columns = fakes | {"provider": provider, "status": "ok", "live": score > 0.1, "score": score}
        columns |= {"threshold": np.full(count, 0.1), "latency_s": score, "evidence": '{"frames": [0.1, 0.2]}'}
        made["verdicts"].append(folder / "liveness" / f"{provider}.parquet")
        write_table(filled(VERDICTS, columns, count), made["verdicts"][-1], VERDICTS)
    numbers = {field.name: random.random(count) for field in ANIMATION_QUALITY if field.type == pa.float64()}
    for name, schema in (("judged", ANIMATION_QUALITY), ("selected", SELECTED)):
        made[name] = [folder / f"{name}.parquet"]
        known = {key: value for key, value in numbers.items() if key in schema.names}
        columns = fakes | known | {"status": "ok", "liveness": '{"local-silent": {"live": true}}'}
        write_table(filled(schema, columns, count), made[name][0], schema)
    return made
