"""Aggregation of frame scores: frame-level and video-level samples from prediction tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import PREDICTIONS
from deepfakemnist.tables.files import read_table

#: Columns that identify one training run of one detector.
RUN = ("detector", "trained_on", "seed")
#: Columns that must be constant over the frames of a video.
_OF_VIDEO = ("label", "split", "action", "person_id")


def read_predictions(paths: Sequence[Path | str]) -> pa.Table:
    """Read and concatenate prediction tables.

    Raises: ConfigError when there are no predictions, when a file is not a prediction table or has a score outside
    0..1, a label other than 0 and 1 or an empty person, and when one run predicted a frame twice.
    """
    tables = []
    for path in paths:
        table = read_table(path)
        if missing := [name for name in PREDICTIONS.names if name not in table.column_names]:
            raise ConfigError(f"{path} is not a table of predictions: it has no column {', '.join(missing)}")
        table = table.select(PREDICTIONS.names).cast(PREDICTIONS)
        _check_cells(path, table)
        tables.append(table)
    if not any(table.num_rows for table in tables):
        raise ConfigError(f"there are no predictions to evaluate in {len(tables)} tables; train a detector first")
    joined = pa.concat_tables(tables)
    key = [*RUN, "quality", "video_id", "frame_index"]
    counts = joined.group_by(key, use_threads=False).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if repeated.num_rows:
        first = ", ".join(
            f"{name} {value}" for name, value in repeated.slice(0, 1).to_pylist()[0].items() if name in key
        )
        raise ConfigError(f"{repeated.num_rows} frames were predicted more than once by one run, e.g. {first}")
    return joined


def frame_level(predictions: pa.Table) -> pa.Table:
    """Return one sample per frame: its identifying columns of PREDICTIONS, ``score``, and ``frames``, which is 1.

    Videos without frames (frame_index -1) count at video level only.
    """
    seen = predictions.filter(pc.greater_equal(predictions["frame_index"], 0))
    columns = [*RUN, "quality", "video_id", "frame_index", *_OF_VIDEO, "score"]
    return seen.select(columns).append_column("frames", pa.array([1] * seen.num_rows, pa.int64()))


def video_level(predictions: pa.Table, by: Literal["mean", "median", "top"] = "mean", top_k: int = 3) -> pa.Table:
    """Return one sample per run, quality and video: the aggregated ``score`` and the number of ``frames``.

    A video is identified by its id and quality alone. Grouping by the name of the frame folder, as much code of the
    field does, merges several fakes of one source into one video and inflates the AUC. A video in which no face was
    found has the score 0.5 and 0 frames.

    Args:
        predictions: rows of tables.PREDICTIONS.
        by: mean, median, or top: mean of the ``top_k`` highest scores.
        top_k: number of scores for top; all scores where a video has fewer frames.

    Raises: ConfigError when frames of one video differ in label, split, action or person.
    """
    key = [*RUN, "quality", "video_id"]
    columns = [*key, *_OF_VIDEO, "score", "frame_index"]
    # Rounding of sums depends on the order of the terms, so the order must not depend on the input.
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


def filter_rows(samples: pa.Table, values: Mapping[str, object]) -> pa.Table:
    """Return the rows with the given values in the given columns."""
    return samples.filter(reduce(pc.and_, [pc.equal(samples[name], value) for name, value in values.items()]))


def _column(values: pd.Series, name: str) -> pa.Array:
    kinds = {"score": pa.float64(), "frames": pa.int64()}
    return pa.array(values, kinds.get(name) or PREDICTIONS.field(name).type, from_pandas=True)


def _check_cells(path: Path | str, table: pa.Table) -> None:
    bad = {
        "score outside 0 to 1": pc.invert(
            pc.and_(pc.greater_equal(table["score"], 0.0), pc.less_equal(table["score"], 1.0))
        ),
        "label other than 0 and 1": pc.invert(pc.is_in(table["label"], pa.array([0, 1], pa.int8()))),
        "empty person_id": pc.equal(pc.fill_null(table["person_id"], ""), ""),
    }
    for problem, mask in bad.items():
        wrong = table.filter(pc.fill_null(mask, True))
        if wrong.num_rows:
            row = wrong.slice(0, 1).to_pylist()[0]
            raise ConfigError(
                f"{path}: {wrong.num_rows} rows have a {problem}, e.g. video {row['video_id']}, "
                f"quality {row['quality']}, frame {row['frame_index']}: label {row['label']}, score {row['score']}, "
                f"person {row['person_id']!r}"
            )
