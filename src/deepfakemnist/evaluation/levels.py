"""Predictions as samples of two kinds: every frame for itself, or every video by the mean of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables import PREDICTIONS, read_table

#: One training run of one detector.
RUN = ("detector", "trained_on", "seed")
#: What must be the same on all frames of a video.
_OF_VIDEO = ("label", "split", "action", "person_id")


def read_predictions(paths: Sequence[Path | str]) -> pa.Table:
    """Read and join prediction tables.

    Raises: ConfigError when there are none, when one is no prediction table, holds a score that is no number, a
    label beside 0 and 1 or a frame without a person, or when a frame was predicted twice by one run of a detector.
    """
    tables = []
    for path in paths:
        table = read_table(path)
        if missing := [name for name in PREDICTIONS.names if name not in table.column_names]:
            raise ConfigError(f"{path} is no table of predictions: it has no column {', '.join(missing)}")
        table = table.select(PREDICTIONS.names).cast(PREDICTIONS)
        _check_cells(path, table)
        tables.append(table)
    if not any(table.num_rows for table in tables):
        raise ConfigError(f"there are no predictions to evaluate in {len(tables)} tables; train a detector first")
    joined = pa.concat_tables(tables)
    key = [*RUN, "quality", "video_id", "frame_index"]
    counts = joined.group_by(key, use_threads=False).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if twice.num_rows:
        first = ", ".join(f"{name} {value}" for name, value in twice.slice(0, 1).to_pylist()[0].items() if name in key)
        raise ConfigError(f"{twice.num_rows} frames were predicted more than once by one run, e.g. {first}")
    return joined


def frame_level(predictions: pa.Table) -> pa.Table:
    """Return one sample per frame: the columns of PREDICTIONS that name it, ``score`` and ``frames``, which is 1."""
    columns = [*RUN, "quality", "video_id", *_OF_VIDEO, "score"]
    return predictions.select(columns).append_column("frames", pa.array([1] * predictions.num_rows, pa.int64()))


def video_level(predictions: pa.Table) -> pa.Table:
    """Return one sample per run, quality and video: ``score`` is the mean over its frames, ``frames`` their number.

    A video is known by its id and quality and by nothing else. Grouping by the name of the folder that holds the
    frames, as much code of the field does, melts several fakes of one source into one and lifts the AUC.

    Raises: ConfigError when frames of one video differ in label, split, action or person.
    """
    key = [*RUN, "quality", "video_id"]
    distinct = [(name, "count_distinct", pc.CountOptions(mode="all")) for name in _OF_VIDEO]
    firsts = [(name, "first", pc.ScalarAggregateOptions(skip_nulls=False)) for name in _OF_VIDEO]
    videos = predictions.group_by(key, use_threads=False).aggregate(
        [("score", "mean"), ([], "count_all"), *distinct, *firsts]
    )
    for name in _OF_VIDEO:
        mixed = videos.filter(pc.greater(videos[f"{name}_count_distinct"], 1))
        if mixed.num_rows:
            raise ConfigError(f"video {mixed['video_id'][0]} has frames with more than one {name} in the predictions")
    columns = {name: videos[name] for name in key}
    columns |= {name: videos[f"{name}_first"] for name in _OF_VIDEO}
    return pa.table({**columns, "score": videos["score_mean"], "frames": videos["count_all"]})


def _check_cells(path: Path | str, table: pa.Table) -> None:
    bad = {
        "score that is no number from 0 to 1": pc.invert(
            pc.and_(pc.greater_equal(table["score"], 0.0), pc.less_equal(table["score"], 1.0))
        ),
        "label beside 0 and 1": pc.invert(pc.is_in(table["label"], pa.array([0, 1], pa.int8()))),
        "empty person_id": pc.equal(pc.fill_null(table["person_id"], ""), ""),
    }
    for what, mask in bad.items():
        wrong = table.filter(pc.fill_null(mask, True))
        if wrong.num_rows:
            row = wrong.slice(0, 1).to_pylist()[0]
            raise ConfigError(
                f"{path}: {wrong.num_rows} rows have a {what}, e.g. video {row['video_id']}, quality {row['quality']}, "
                f"frame {row['frame_index']}: label {row['label']}, score {row['score']}, person {row['person_id']!r}"
            )
