"""Predictions as samples of two kinds: every frame for itself, or every video by the scores of its frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import read_table
from deepfakemnist.tables.schemas import PREDICTIONS

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
    """Return one sample per frame: what names it in PREDICTIONS, ``score`` and ``frames``, which is 1.

    Videos that gave no frame (frame_index -1) are no frames: they count at video level only.
    """
    seen = predictions.filter(pc.greater_equal(predictions["frame_index"], 0))
    columns = [*RUN, "quality", "video_id", "frame_index", *_OF_VIDEO, "score"]
    return seen.select(columns).append_column("frames", pa.array([1] * seen.num_rows, pa.int64()))


def video_level(predictions: pa.Table, by: Literal["mean", "median", "top"] = "mean", top_k: int = 3) -> pa.Table:
    """Return one sample per run, quality and video: ``score`` of its frames, and ``frames``, their number.

    A video is known by its id and quality and by nothing else. Grouping by the name of the folder that holds the
    frames, as much code of the field does, melts several fakes of one source into one and lifts the AUC. A video
    without a frame in which a face was found is there with the score 0.5 and 0 frames.

    Args:
        predictions: rows of tables.PREDICTIONS.
        by: mean, median, or top: the mean of the ``top_k`` highest scores.
        top_k: see there; all frames of a video that has fewer.

    Raises: ConfigError when frames of one video differ in label, split, action or person.
    """
    key = [*RUN, "quality", "video_id"]
    columns = [*key, *_OF_VIDEO, "score", "frame_index"]
    # Sums round by the order of what is added, so that must not come from the input.
    order = [(name, "ascending") for name in (*key, "score")]
    frames = predictions.select(columns).sort_by(order).to_pandas()
    groups = frames.groupby(key, sort=True, dropna=False)
    for name in _OF_VIDEO:
        counts = groups[name].nunique(dropna=False)
        if len(mixed := counts[counts > 1]):
            video = mixed.index[0][key.index("video_id")]
            raise ConfigError(f"video {video} has frames with more than one {name} in the predictions")
    videos = groups[list(_OF_VIDEO)].first()
    if by == "top":
        best = frames.sort_values("score", ascending=False, kind="stable").groupby(key, sort=True, dropna=False)
        videos["score"] = best.head(top_k).groupby(key, sort=True, dropna=False)["score"].mean()
    else:
        videos["score"] = groups["score"].agg(by)
    videos["frames"] = (frames["frame_index"] >= 0).groupby([frames[name] for name in key], dropna=False).sum()
    videos = videos.reset_index()
    return pa.table({name: _column(videos[name], name) for name in (*key, *_OF_VIDEO, "score", "frames")})


def rows_with(samples: pa.Table, values: Mapping[str, object]) -> pa.Table:
    """Return the rows that have these values in these columns."""
    return samples.filter(reduce(pc.and_, [pc.equal(samples[name], value) for name, value in values.items()]))


def _column(values: pd.Series, name: str) -> pa.Array:
    kinds = {"score": pa.float64(), "frames": pa.int64()}
    return pa.array(values, kinds.get(name) or PREDICTIONS.field(name).type, from_pandas=True)


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
