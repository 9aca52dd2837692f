"""``deepfakemnist predict``: deepfake scores of a trained detector for arbitrary videos."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.sources.video_files import VIDEO_SUFFIXES, describe_left_aside, find_videos
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.training.checkpoint import load_checkpoint
from deepfakemnist.training.score_video import VideoScore, score_video, write_heat_map, write_overlay

#: Reasons that are a result, not an error: the video has no usable face.
_NO_FACE = {"no_face", "face_lost", "too_short", "upside_down", "sideways"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments and ``run``."""
    parser.add_argument("videos", type=Path, nargs="+", help="video files, or folders to search for them")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.safetensors of a trained detector")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for scores.json, scores.csv, overlays and heat maps"
    )
    parser.add_argument("--frames", type=int, default=16, help="evenly spaced frames scored per video (default: 16)")
    parser.add_argument("--overlay", action="store_true", help="also write each video with the crop box and scores")
    parser.add_argument("--heat-map", action="store_true", help="also write Grad-CAM heat maps of scored frames")
    parser.add_argument("--cropped", action="store_true", help="videos already are square face crops")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score every video; return 0, or 1 when one could not be read.

    ``scores.json`` has the detector and one record per video with its frames; ``scores.csv`` one row per frame. A video
    without a face has the score 0.5 and a reason.

    Raises: ConfigError when there is no video, or the checkpoint cannot be used.
    """
    if arguments.frames < 1:
        raise ConfigError(f"--frames {arguments.frames}: must be at least 1")
    videos = dict(_named_videos(arguments.videos))
    if not videos:
        raise ConfigError(
            f"no videos in {', '.join(map(str, arguments.videos))}; suffixes: {', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    checkpoint = load_checkpoint(arguments.checkpoint, choose_device(arguments.device))
    crop = CropSettings(**(checkpoint.facts.get("crop") or {}))
    faces = FaceDetector(crop.min_score, crop.detect_max_side)
    records, failed = [], 0
    for name, path in videos.items():
        scored = score_video(path, checkpoint, crop, arguments.frames, faces, arguments.cropped)
        records.append(_record(name, scored))
        failed += bool(scored.reason) and scored.reason not in _NO_FACE
        print(f"{scored.score:.3f}\t{name}" + (f"\t{scored.reason}: {scored.detail}" if scored.reason else ""))
        if scored.scores and arguments.overlay:
            write_overlay(scored, crop, arguments.output / f"{name}.overlay.mp4")
        if scored.scores and arguments.heat_map:
            write_heat_map(scored, checkpoint, arguments.output / f"{name}.heat_map.png")
    detector = {
        "detector": checkpoint.settings.slug,
        "trained_on": checkpoint.trained_on,
        "seed": checkpoint.seed,
        "checkpoint_sha256": checkpoint.sha256,
    }
    _write(arguments.output, detector, records)
    return int(failed > 0)


def _named_videos(paths: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield a unique output name and the path of every video; in a folder the name is the path relative to it."""
    taken: set[str] = set()
    for path in paths:
        if path.is_dir():
            search = find_videos(path)
            if search.left_aside:
                print(f"{path}: left aside {describe_left_aside(search.left_aside)}", file=sys.stderr)
            named = [("__".join(file.relative_to(path).with_suffix("").parts), file) for file in search.videos]
        elif path.is_file():
            named = [(path.stem, path)]
        else:
            raise ConfigError(f"{path}: no such file or folder")
        for name, file in named:
            unique, number = name, 2
            while unique in taken:
                unique, number = f"{name}-{number}", number + 1
            taken.add(unique)
            yield unique, file


def _record(name: str, scored: VideoScore) -> dict[str, Any]:
    return {
        "name": name,
        "path": str(scored.path),
        "score": scored.score,
        "reason": scored.reason,
        "detail": scored.detail,
        "box": {name: scored.crop[f"box_{name}"] for name in ("left", "top", "side")} if scored.crop else None,
        "frames": [{"time_s": time, "score": score} for time, score in zip(scored.times, scored.scores, strict=True)],
    }


def _write(folder: Path, detector: dict[str, Any], records: list[dict[str, Any]]) -> None:
    with atomic_path(folder / "scores.json") as part:
        part.write_text(json.dumps({**detector, "videos": records}, indent=2) + "\n", encoding="utf-8")
    with atomic_path(folder / "scores.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "time_s", "score", "video_score", "reason"])
        for record in records:
            for frame in record["frames"] or [{"time_s": "", "score": ""}]:
                writer.writerow([record["name"], frame["time_s"], frame["score"], record["score"], record["reason"]])
