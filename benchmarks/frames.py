"""Frame storage benchmark: lossless WebP in Parquet compared with one PNG file per frame.

    python benchmarks/frames.py            prints the table and writes benchmarks/frames.json

Frames stored per CPU second and core, from decoding the c23 clip to bytes on disk; bytes per frame; images per CPU
second when read one at a time in random order; and decoder and WebP encoder alone, which bound the rest. The clips are
generated: synthetic talking heads. Medians of the repeats.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, film, sources
from deepfakemnist.config.dataset import CompressSettings, FrameSettings, Quality
from deepfakemnist.media.compress import compress_clip
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.media.frames import decode_image, encode_image, frames_shard
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import COMPRESSED

CLIPS, REPEATS, SIDE, FPS = 2, 5, 256, 25.0
CAST = CastSettings(
    folder=Path(), heads=CLIPS, sources=CLIPS, drivers=0, drivers_per_action=0, source_frames=125, width=SIDE,
    height=SIDE, close_up=True,
)  # fmt: skip


def main() -> None:
    cv2.setNumThreads(1)
    settings = CompressSettings(qualities={"c23": Quality(crf=23)})
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = []
        for clip in sources(CAST):
            frames = np.stack(list(film(clip, CAST, load_bank())))
            made = write_working_clip(folder / f"{clip.name}.mp4", frames, FPS)
            row = {"video_id": clip.name, "path": str(made.path), "pixels_sha256": made.pixels_sha256}
            status = {"status": "ok", "reason": "", "detail": ""}
            rows += [{**one, **status} for one in compress_clip(row, folder, 0, settings, FPS, find_ffmpeg())]
        write_table(rows, folder / "clips.parquet", COMPRESSED)
        total = sum(row["frames"] for row in rows)

        numbers = count(1)

        def webp(policy: str) -> int:
            table = folder / f"frames{next(numbers)}.parquet"  # a finished table is not regenerated
            options = {"settings": FrameSettings(per_clip=16, policy=policy), "code": "x"}
            frames_shard(folder / "clips.parquet", table, folder / "parts", **options)
            return pq.read_metadata(table).num_rows

        def png() -> int:
            for row in rows:
                for index, frame in enumerate(read_frames(row["path"])):
                    path = folder / "png" / row["video_id"] / f"{index:04d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(frame).save(path)
            return total

        decoded = [frame for row in rows for frame in read_frames(row["path"])]

        def encoder() -> int:
            for frame in decoded:
                encode_image(frame)
            return total

        def decoder() -> int:
            for row in rows:
                for _ in read_frames(row["path"]):
                    pass
            return total

        methods: dict[str, Callable[[], int]] = {
            "decoder alone, to RGB": decoder,
            "WebP encoder alone": encoder,
            "WebP in Parquet, 16 per clip": lambda: webp("even"),
            "WebP in Parquet, every frame": lambda: webp("all"),
            "PNG files, every frame": png,
        }
        rates: dict[str, list[float]] = {name: [] for name in methods}
        for _ in range(REPEATS):  # interleaved, so that background load affects all equally
            for name, work in methods.items():
                rates[name].append(rate(work))
        result |= {name: {"stored_per_cpu_s": round(statistics.median(found), 1)} for name, found in rates.items()}
        every = folder / f"frames{2 * REPEATS}.parquet"  # the last table
        images = pq.read_table(every, columns=["image"]).column("image").to_pylist()
        files = sorted((folder / "png").rglob("*.png"))
        sizes = {"WebP in Parquet, every frame": sum(map(len, images)), "PNG files, every frame": bytes_of(files)}
        for name, size in sizes.items():
            result[name]["bytes_per_frame"] = round(size / total)
        order = random.Random(1).sample(range(total), total)
        table = pq.ParquetFile(every)
        starts = np.cumsum([0, *(table.metadata.row_group(at).num_rows for at in range(table.num_row_groups))])

        def read_webp() -> int:
            for at in order:
                group = int(np.searchsorted(starts, at, side="right")) - 1
                column = table.read_row_group(group, columns=["image"]).column("image")
                decode_image(column[at - int(starts[group])].as_py())
            return total

        def read_png() -> int:
            for at in order:
                with Image.open(files[at]) as image:
                    np.array(image)
            return total

        for name, work in {"WebP in Parquet, every frame": read_webp, "PNG files, every frame": read_png}.items():
            result[name]["read_per_cpu_s"] = round(statistics.median(rate(work) for _ in range(REPEATS)), 1)
    for name, figures in result.items():
        print(f"{name:40s}", ", ".join(f"{key} {value:g}" for key, value in figures.items()))
    facts = {
        "what": "frames stored and read per CPU second on one core",
        "side": SIDE,
        "frames": total,
        "methods": result,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


def rate(work: Callable[[], int]) -> float:
    """Return the count that ``work`` returns per CPU second of this process."""
    before = time.process_time()
    done = work()
    return done / (time.process_time() - before)


def bytes_of(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
