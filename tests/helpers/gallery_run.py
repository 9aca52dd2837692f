"""Small run for tests of the gallery: tables and clips of 64 pixels, as the stages leave them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.report.gallery_page import GallerySettings
from deepfakemnist.report.gallery_tables import GalleryTables
from deepfakemnist.tables.dataset_schemas import LEDGER, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import ANIMATION_QUALITY, CROPPED, SELECTED, VERDICTS

SIDE, FRAMES, PEAK = 64, 20, 12
SETTINGS = GallerySettings(["raw", "c40"], 10.0, 1.0, ["nod", "yaw", "smile"])
ANSWERS = {"local": {"live": True, "score": 1.25, "threshold": 1.0}}
#: Fakes: accepted ones of nod and yaw, one rejected; transfer and identity kept.
FIGURES = {"s1@nod-d1": (1.0, 0.8), "s2@nod-d1": (0.5, 0.4), "s1@yaw-d2": (1.2, 0.6), "s2@yaw-d2": (0.1, 0.3)}
REJECTED = "s2@yaw-d2"
OK = {"status": "ok", "reason": "", "detail": ""}


def frames(level: int) -> list[np.ndarray]:
    """Return a grey clip with a bright bar that is at its greatest at PEAK."""
    clip = np.full((FRAMES, SIDE, SIDE, 3), level, np.uint8)
    for number, frame in enumerate(clip):
        frame[40 : 40 + max(0, 12 - 2 * abs(number - PEAK))] = 250
    return list(clip)


def write_run(folder: Path) -> GalleryTables:
    """Write clips and tables of a run; return its tables."""
    made: dict[str, str] = {}
    for place, name in enumerate(["s1", "s2", "nod-d1", "yaw-d2", *FIGURES]):
        for quality in ["raw", "c40"] if "@" in name and name != REJECTED else [""]:
            path = folder / f"clips/{name}{quality}.mp4"
            write_working_clip(path, frames(40 + 15 * place), SETTINGS.fps)
            made[name + quality] = str(path)
    real = {"label": 0, "split": "train", "action": "", "frames": FRAMES, "quality": "raw", "bytes": 2000}
    videos = [{**real, "video_id": name, "source_id": name, "path": made[name]} for name in ("s1", "s2")]
    fakes = []
    for name in FIGURES:
        source, driver = name.split("@")
        pair = {"video_id": name, "source_id": source, "driver_id": driver, "action": driver.split("-")[0]}
        fakes.append({**pair, "split": "test" if source == "s1" else "train", "animator": "fomm", "frames": FRAMES})
    for fake in fakes:
        if fake["video_id"] != REJECTED:
            more = {"label": 1, "liveness": json.dumps(ANSWERS), "source_frame": 3}
            for quality, decibels in (("raw", None), ("c40", 31.4)):
                more |= {"quality": quality, "psnr_db": decibels, "ssim": 0.9, "bytes": 12_300}
                videos.append({**fake, **more, "path": made[fake["video_id"] + quality]})
    write_table(videos, folder / "videos.parquet", VIDEOS)
    items = [
        {"kind": "fake", "video_id": REJECTED, "action": "yaw", "stage": "select", **OK, "status": "rejected"},
        {"kind": "fake", "video_id": "s1@smile", "action": "smile", "stage": "plan", **OK, "status": "rejected",
         "reason": "no_driver"},
    ]  # fmt: skip
    write_table(items, folder / "ledger.parquet", LEDGER)
    refusal = {"status": "rejected", "reason": "liveness", "detail": "local: score 0.2 <threshold>"}
    no = {"local": {"live": False, "score": 0.2, "threshold": 1.0}}
    selected = [
        {**fake, **(refusal if fake["video_id"] == REJECTED else OK), "path": made.get(fake["video_id"], ""),
         "liveness": json.dumps(no if fake["video_id"] == REJECTED else ANSWERS)}
        for fake in fakes
    ]  # fmt: skip
    write_table(selected, folder / "select.parquet", SELECTED)
    judged = [
        {**fake, "transfer": FIGURES[fake["video_id"]][0], "identity_kept": FIGURES[fake["video_id"]][1],
         "sharpness_ratio": None, "source_frame": 0, **OK}
        for fake in fakes
    ]  # fmt: skip
    judged = [{name: row[name] for name in row if name in ANIMATION_QUALITY.names} for row in judged]
    write_table(judged, folder / "judge.parquet", ANIMATION_QUALITY)
    unasked = {"video_id": REJECTED, "action": "yaw", "provider": "vendor", "status": "rejected", "reason": "not_asked"}
    write_table([unasked], folder / "vendor.parquet", VERDICTS)
    for role, names in (("source", ("s1", "s2")), ("driver", ("nod-d1", "yaw-d2"))):
        rows = [{"video_id": name, "path": made[name], "frames": FRAMES, **OK} for name in names]
        write_table(rows, folder / f"{role}.parquet", CROPPED)
    return GalleryTables(
        videos=folder / "videos.parquet",
        ledger=folder / "ledger.parquet",
        selected=[folder / "select.parquet"],
        judged=[folder / "judge.parquet"],
        verdicts=[folder / "vendor.parquet"],
        sources=[folder / "source.parquet"],
        drivers=[folder / "driver.parquet"],
    )


def released(tables: GalleryTables) -> GalleryTables:
    """Return what a released tree has of the tables."""
    return replace(tables, selected=(), judged=(), verdicts=(), sources=(), drivers=())
