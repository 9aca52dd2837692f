"""Small dataset on disk with its manifest, encoded and sampled by the project's own stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfakemnist.animate.protocol import Motion
from deepfakemnist.config.dataset import CompressSettings, FrameSettings, Quality
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.dataset.captions import write_captions
from deepfakemnist.dataset.pairs import pair_rows
from deepfakemnist.dataset.splits import add_splits
from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.frames import frames_shard
from deepfakemnist.tables.checksums import recorded_checksum
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, LEDGER, PAIRS, VIDEOS
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED, COMPRESSED, CROPPED, FRAMES, MOTIONS, OK, Row

SETTINGS = {"c23": Quality(crf=23, preset="ultrafast"), "c40": Quality(crf=40, preset="ultrafast")}
#: Folders of the working clips by class, as in a run.
WORKING = {"real": "results/crop/source", "fake": "results/animate"}
STATUS = {"status": OK, "reason": "", "detail": ""}


def clip(seed: int, frames: int = 6, side: int = 48) -> np.ndarray:
    """Return a moving noise pattern, different for every seed, (T,S,S,3)."""
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return np.stack([np.roll(noise // 2 + 60, 2 * number, axis=1) for number in range(frames)])


def _relative(rows: list[Row], root: Path) -> list[Row]:
    return [{**row, "path": str(Path(row["path"]).relative_to(root))} for row in rows]


def make_dataset(root: Path, people: int = 4, qualities: dict[str, dict[str, Quality]] | None = None) -> Path:
    """Write a dataset with one real and one fake per person; return the folder of its manifest.

    Args:
        root: working directory of the run; paths in the manifest are relative to it.
        people: number of people.
        qualities: encodings by class (real, fake), for leaky datasets; None: the same for both.
    """
    rows: list[Row] = []
    frames: list[Row] = []
    splits = ("train", "train", "val", "test")
    for label, kind in enumerate(("real", "fake")):
        clips = []
        for number in range(people):
            name = f"s{number}" if kind == "real" else f"s{number}@nod-d{number % 2}"
            made = write_working_clip(root / f"{WORKING[kind]}/a/{name}.mp4", clip(2 * number + label), 25)
            clips.append({"video_id": name, "person_id": f"p{number}", **made.columns(), **STATUS})
        write_table(clips, root / f"{kind}.parquet", CROPPED)
        write_table(_relative(clips, root), root / f"{WORKING[kind]}/a.parquet", ANIMATED if label else CROPPED)
        settings = CompressSettings(qualities=(qualities or {}).get(kind, SETTINGS))
        table = root / f"results/compress/{kind}/a.parquet"
        options = {"label": label, "settings": settings, "fps": 25.0, "code": "c0de", "software": "fomm"}
        compress_shard(root / f"{kind}.parquet", table, table.with_suffix(""), **options)
        stills = root / f"results/frames/{kind}/a.parquet"
        frames_shard(table, stills, stills.with_suffix(""), settings=FrameSettings(per_clip=3), code="c0de")
        columns = [name for name in FRAMES.names if name != "image"]
        for at, row in enumerate(read_rows(stills, columns)):
            shard = {"shard_path": str(stills.relative_to(root)), "shard_checksum": recorded_checksum(stills)}
            frames.append({**row, **shard, "shard_row": at})
        write_table(_relative(read_rows(table), root), table, COMPRESSED)
        for row in read_rows(table):
            number = int(row["video_id"][1:].split("@")[0])
            rows.append(
                {
                    **{name: row[name] for name in VIDEOS.names if name in row},
                    "split": splits[number % len(splits)],
                    "person_id": f"p{number}",
                    "source_id": f"s{number}",
                    "action": "nod" if label else "",
                    "driver_id": f"nod-d{number % 2}" if label else "",
                    "driver_person_id": f"d{number % 2}" if label else "",
                    "animator": "fomm" if label else "",
                    "synthetic": bool(label),
                }
            )
    motion = Motion({"value": np.random.default_rng(1).random((6, 4, 2), np.float32)})
    stored = motion.save(root / "results/extract_motion/a/d0.npz")
    facts = {"path": "results/extract_motion/a/d0.npz", "bytes": stored.bytes, "sha256": stored.sha256, **STATUS}
    write_table([{"video_id": "d0", **facts}], root / "results/extract_motion/a.parquet", MOTIONS)
    add_splits(rows, PlanSettings(), seed=1, folds=2)
    split = {row["video_id"]: row["split"] for row in rows}
    index = [{name: {**row, "split": split[row["video_id"]]}[name] for name in FRAME_INDEX.names} for row in frames]
    out = root / "results/manifest"
    write_table(rows, out / "videos.parquet", VIDEOS)
    write_table(index, out / "frames.parquet", FRAME_INDEX)
    write_table(pair_rows(rows), out / "pairs.parquet", PAIRS)
    write_table([], out / "ledger.parquet", LEDGER)
    captions = [
        {"source_id": f"s{n}", "person_id": f"p{n}", "licence": "CC0-1.0" if n % 2 else None} for n in range(people)
    ]
    write_captions(captions, out / "captions.parquet")
    return out
