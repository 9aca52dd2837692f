"""``deepfakemnist predict``: verdicts of a trained detector on videos, prepared as its training clips were."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from deepfakemnist.config.dataset import Quality
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import printable
from deepfakemnist.sources.video_files import VIDEO_SUFFIXES, describe_left_aside, find_videos
from deepfakemnist.training.checkpoint import Checkpoint, load_checkpoint
from deepfakemnist.training.score_tables import why_unscored, write_scores
from deepfakemnist.training.score_video import RULE, VideoScore, VideoScorer

_BOX_COLUMNS = ("time_s", "left", "top", "width", "height")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments and ``run``."""
    parser.epilog = (
        f"A video is {RULE}. Exit status: 0, or 1 when a video is unscored, because it cannot be read or shows no "
        "usable face."
    )
    parser.add_argument("videos", type=Path, nargs="+", help="video files, or folders to search for them")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.safetensors of a trained detector")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for scores.json, videos.csv, tracks.csv, seconds.csv, frames.csv, skipped.csv and pictures",
    )
    parser.add_argument(
        "--as-trained",
        action="store_true",
        help="encode face crops at the quality that the detector was trained on before they are scored; without it, "
        "they are scored as they are",
    )
    parser.add_argument(
        "--quality", help="encode at this quality of the detector's run instead; for one trained on several"
    )
    parser.add_argument(
        "--frames",
        type=int,
        help="frames scored of each face, per crop.max_frames frames of video (default: as trained, and at least one "
        "per second)",
    )
    parser.add_argument("--timeline", action="store_true", help="also draw the scores of each video over time")
    parser.add_argument("--overlay", action="store_true", help="also write each video with crop boxes and scores")
    parser.add_argument(
        "--heat-map", action="store_true", help="also write heat maps of the frames with the highest scores"
    )
    parser.add_argument("--cropped", action="store_true", help="videos already are square crops of one face")
    parser.add_argument(
        "--assume-crop",
        action="store_true",
        help="crop faces although the detector was trained on clips whose crop is not known",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        help=f"CSV with the annotated boxes of the face in a single video, columns {', '.join(_BOX_COLUMNS)}, in "
        "seconds and pixels; for detectors trained with crop.policy vox-metadata",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score every video; return 0, or 1 when one is unscored.

    Raises: ConfigError when there is no video, or the checkpoint cannot be used.
    """
    if arguments.frames is not None and arguments.frames < 1:
        raise ConfigError(f"--frames {arguments.frames}: must be at least 1")
    videos = dict(_named_videos(arguments.videos))
    if not videos:
        raise ConfigError(
            f"no videos in {', '.join(map(str, arguments.videos))}; suffixes: {', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    if arguments.boxes and len(videos) > 1:
        raise ConfigError(f"--boxes {arguments.boxes}: holds the boxes of one video, but there are {len(videos)}")
    checkpoint = load_checkpoint(arguments.checkpoint, choose_device(arguments.device))
    quality = _quality(checkpoint, arguments.quality, arguments.as_trained)
    scorer = VideoScorer(
        checkpoint,
        quality,
        arguments.frames,
        arguments.cropped,
        arguments.assume_crop,
        _read_boxes(arguments.boxes) if arguments.boxes else None,
    )
    for note in _notes(checkpoint, quality, arguments):
        print(f"deepfakemnist predict: {note}", file=sys.stderr)
    results: list[tuple[str, VideoScore]] = []
    for name, path in videos.items():
        scored = scorer.score(path)
        results.append((name, scored))
        print(printable(_line(name, scored)), flush=True)
        _write_pictures(arguments, checkpoint, name, scored)
        scored.shown.clear()
    write_scores(arguments.output, _detector_facts(checkpoint, quality), results)
    return int(any(scored.verdict == "unscored" for _, scored in results))


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


def _read_boxes(path: Path) -> list[list[float]]:
    """Return rows of seconds, left, top, width, height. Raises: ConfigError naming the file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            boxes = [[float(row[name]) for name in _BOX_COLUMNS] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ConfigError(f"--boxes {path}: needs numbers in columns {', '.join(_BOX_COLUMNS)}: {error!r}") from error
    if not boxes or not all(isfinite(value) for box in boxes for value in box) or boxes != sorted(boxes):
        raise ConfigError(f"--boxes {path}: needs at least one row, finite numbers, and rows in order of time_s")
    return boxes


def _quality(checkpoint: Checkpoint, named: str | None, as_trained: bool) -> str | None:
    """Return the quality to encode at, None for none."""
    if named or not as_trained:
        return named
    known = checkpoint.preparation.known_qualities(checkpoint.trained_on)
    if not known:
        raise ConfigError(
            "--as-trained: the checkpoint does not state the encoder settings of its training clips; train it again, "
            "with `deepfakemnist train --run-config` outside the workflow"
        )
    if len(known) > 1:
        raise ConfigError(f"--as-trained: trained on {', '.join(known)}; choose one with --quality")
    return next(iter(known))


def _notes(checkpoint: Checkpoint, quality: str | None, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what a reader of the scores must know: what was assumed, and which quality the detector knows."""
    for sentence in checkpoint.assumed:
        yield f"{arguments.checkpoint} does not say otherwise, so it is assumed that {sentence}"
    if checkpoint.preparation.crop.policy == "vox-metadata" and not (arguments.boxes or arguments.cropped):
        yield (
            "trained on clips cut by annotated boxes (crop.policy vox-metadata), which this video lacks: faces are cut "
            "as the run cut its drivers, by square-track. --boxes gives annotated ones"
        )
    known = checkpoint.preparation.known_qualities(checkpoint.trained_on)
    trained = "; ".join(f"{name} ({_described(encode)})" for name, encode in known.items()) or checkpoint.trained_on
    if quality is None:
        yield f"the detector knows quality {trained}; videos are scored as they are (--as-trained encodes them first)"
    else:
        encode = _described(checkpoint.preparation.qualities[quality])
        yield f"the detector knows quality {trained}; videos are encoded as {quality} ({encode}) first"


def _described(quality: Quality) -> str:
    return ", ".join(f"{name} {value}" for name, value in quality.model_dump(exclude_none=True).items())


def _line(name: str, scored: VideoScore) -> str:
    """Return the line that is printed for a video."""
    if scored.verdict == "unscored":
        reason, detail = why_unscored(scored)
        return f"unscored\t\t{name}\t{reason}: {detail}"
    highest = max(scored.tracks, key=lambda track: track.score)
    first, last = highest.segments[0].from_s, highest.segments[-1].to_s
    where = f"face {highest.number} of {len(scored.tracks)}, {first:.1f} to {last:.1f} s of {scored.length_s:.1f} s"
    broken = f"; read in part: {scored.reason}: {scored.detail}" if scored.reason else ""
    return f"{scored.verdict}\t{scored.score:.3f}\t{name}\t{where}{broken}"


def _write_pictures(arguments: argparse.Namespace, checkpoint: Checkpoint, name: str, scored: VideoScore) -> None:
    if not scored.tracks or not (arguments.timeline or arguments.overlay or arguments.heat_map):
        return
    # Altair takes a second to import.
    from deepfakemnist.training.score_pictures import write_heat_map, write_overlay
    from deepfakemnist.training.timeline import write_timeline

    if arguments.timeline:
        write_timeline(scored, arguments.output / f"{name}.timeline.png", name)
    if arguments.overlay and not scored.reason:  # a broken file cannot be copied
        write_overlay(scored, checkpoint.preparation.crop.fps, arguments.output / f"{name}.overlay.mp4")
    if arguments.heat_map:
        write_heat_map(scored, checkpoint.detector, arguments.output / f"{name}.heat_map.png")


def _detector_facts(checkpoint: Checkpoint, quality: str | None) -> dict[str, Any]:
    known = checkpoint.preparation.known_qualities(checkpoint.trained_on)
    return {
        "detector": checkpoint.settings.slug,
        "trained_on": checkpoint.trained_on,
        "seed": checkpoint.seed,
        "checkpoint_sha256": checkpoint.sha256,
        "rule": RULE,
        **checkpoint.decision.model_dump(),
        "known_qualities": {name: encode.model_dump(exclude_none=True) for name, encode in known.items()},
        "encoded_as": quality,
        "assumed": list(checkpoint.assumed),
    }
