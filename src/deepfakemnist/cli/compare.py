"""``deepfakemnist compare``: paired comparison of two trained detectors on the same clips."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.aggregation import (
    RUN,
    filter_rows,
    frame_level,
    read_drivers,
    read_predictions,
    video_level,
)
from deepfakemnist.evaluation.estimates import COMPARED
from deepfakemnist.evaluation.pairs import compare_samples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments and ``run``."""
    parser.add_argument("first", type=Path, help="predictions.parquet of one detector")
    parser.add_argument("second", type=Path, help="predictions.parquet of another, of the same manifest")
    parser.add_argument("--level", choices=("frame", "video"), default="video")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--videos", type=Path, help="videos.parquet of the manifest: who drives each fake")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the differences in accuracy, balanced accuracy and AUC, for every quality that both detectors scored.

    Raises: ConfigError for tables that hold several runs, share no quality, or score different clips.
    """
    tables = [_one_run(path, arguments) for path in (arguments.first, arguments.second)]
    qualities = [set(table["quality"].to_pylist()) for table in tables]
    shared = sorted(qualities[0] & qualities[1])
    if not shared:
        raise ConfigError(f"the tables share no quality: {sorted(qualities[0])} and {sorted(qualities[1])}")
    names = [" ".join(str(table[name][0]) for name in RUN) for table in tables]
    print(f"{names[0]}  minus  {names[1]}; {arguments.level} level, {arguments.split}, percentage points")
    for quality in shared:
        parts = [filter_rows(table, {"quality": quality}) for table in tables]
        found = compare_samples(parts[0], parts[1])
        print(f"{quality}: {found['n_videos']} videos, {found['n_people']} people; {found['generalises_to']}")
        for name in COMPARED:
            print(f"  {name:17s} {_line(*(found[f'{name}_{part}'] for part in ('difference', 'low', 'high', 'p')))}")
    return 0


def _one_run(path: Path, arguments: argparse.Namespace) -> pa.Table:
    for one in (path, arguments.videos):
        if one is not None and not one.is_file():
            raise ConfigError(f"{one}: no such file")
    drivers = None if arguments.videos is None else read_drivers(arguments.videos)
    predictions = filter_rows(read_predictions([path], drivers), {"split": arguments.split})
    runs = predictions.group_by(list(RUN)).aggregate([]).num_rows
    if runs != 1:
        raise ConfigError(f"{path} holds {runs} detector runs in {arguments.split}; pass a file with exactly one")
    samples = frame_level(predictions) if arguments.level == "frame" else video_level(predictions)
    return samples.filter(pc.is_valid(samples["quality"]))


def _line(value: float | None, low: float | None, high: float | None, p: float | None) -> str:
    if value is None:
        return "undefined: one class only"
    text = f"{100 * value:+.2f}"
    return text if low is None or high is None else f"{text}  [{100 * low:+.2f}, {100 * high:+.2f}]  p = {p:.3f}"
