"""Aggregation of frame scores: frame-level and video-level samples from prediction tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import PREDICTIONS
from deepfakemnist.tables.files import column_names, read_table
from deepfakemnist.tables.schemas import Row

#: Columns that identify one training run of one detector.
RUN = ("detector", "trained_on", "seed")


class Run(NamedTuple):
    """One training run of one detector."""

    detector: str
    trained_on: str
    seed: int


Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: What is read of predictions.
_READ = PREDICTIONS.remove(PREDICTIONS.get_field_index("checkpoint_sha256"))
_TEXTS = [field.name for field in _READ if field.type == pa.string()]
#: Columns that must be constant over the frames of a video.
_OF_VIDEO = ("label", "split", "action", "person_id")
#: Scores of a clip that could not be scored: a fake ranks below every clip, a real above every one. Outside of 0..1,
#: they tie with no score, and are wrong at any threshold.
UNSCORED_FAKE, UNSCORED_REAL = -1.0, 2.0


def runs_of(paths: Sequence[Path | str]) -> dict[Run, list[Path]]:
    """Return the runs in prediction tables, each with the tables that hold rows of it.

    Raises: ConfigError when a file is not a prediction table.
    """
    found: dict[Run, list[Path]] = {}
    for path in map(Path, paths):
        _check_columns(path)
        runs = read_table(path, RUN, encoded=["detector", "trained_on"]).combine_chunks()
        for row in runs.group_by(list(RUN), use_threads=False).aggregate([]).to_pylist():
            found.setdefault(Run(**row), []).append(path)
    return dict(sorted(found.items()))


def read_predictions(
    paths: Sequence[Path | str], drivers: pa.Table | None = None, where: Mapping[str, object] | None = None
) -> pa.Table:
    """Read and concatenate prediction tables; column ``driver`` is who drives each fake, null where unknown.

    Args:
        paths: tables with tables.PREDICTIONS.
        drivers: see :func:`read_drivers`; without it the drivers are unknown.
        where: value by column of the rows wanted, or a list of values; None: all rows. Others are dropped while
            reading, so that a part of a large table takes the memory of that part.

    Raises: ConfigError when there are no predictions, unless only some rows are wanted; when a file is not a
        prediction table or has a score outside 0..1, a label other than 0 and 1 or an empty person; and when one run
        predicted a frame twice.
    """
    tables = []
    filters = [(name, "in", value if isinstance(value, list) else [value]) for name, value in (where or {}).items()]
    for path in paths:
        _check_columns(path)
        table = read_table(path, _READ.names, filters or None, _TEXTS).select(_READ.names).cast(_READ)
        _check_cells(path, table)
        tables.append(table)
    if where is None and not any(table.num_rows for table in tables):
        raise ConfigError(f"there are no predictions to evaluate in {len(tables)} tables; train a detector first")
    joined = pa.concat_tables(tables)
    _check_repeated(joined)
    if drivers is None:
        return joined.append_column("driver", pa.nulls(joined.num_rows, pa.string()))
    at = pc.index_in(joined["video_id"], drivers["video_id"].combine_chunks())
    return joined.append_column("driver", drivers["driver"].take(at))


def read_drivers(videos: Path | str) -> pa.Table:
    """Return the columns ``video_id`` and ``driver``: the person in the driving video, else that video, else null.

    Args:
        videos: table with tables.VIDEOS.
    """
    listed = read_table(videos, ["video_id", "driver_id", "driver_person_id"])
    known = [pc.if_else(pc.equal(listed[name], ""), None, listed[name]) for name in ("driver_person_id", "driver_id")]
    both = pa.table({"video_id": listed["video_id"], "driver": pc.coalesce(*known)})
    # A video has a row per quality.
    return (
        both.group_by("video_id", use_threads=False).aggregate([("driver", "first")]).rename_columns(both.column_names)
    )


def frame_level(predictions: pa.Table) -> pa.Table:
    """Return one sample per frame: its identifying columns of PREDICTIONS, ``driver``, ``score``, and ``frames``, 1.

    A clip that could not be scored (frame_index -1) counts with as many frames as the median clip of its run and
    quality has, all wrong: score UNSCORED_FAKE or UNSCORED_REAL, frame_index -1, -2 and so on, and 0 in ``frames``.
    """
    columns = [*RUN, "quality", "video_id", "frame_index", *_OF_VIDEO, "driver", "score"]
    score = predictions["score"].cast(pa.float64())
    table = predictions.select(columns).set_column(len(columns) - 1, "score", score)
    table = table.append_column("frames", pa.repeat(pa.scalar(1, pa.int64()), table.num_rows))
    seen = pc.greater_equal(table["frame_index"], 0)
    if pc.all(seen).as_py():
        return table
    found = table.filter(seen)
    return pa.concat_tables([found, _lost_frames(table.filter(pc.invert(seen)), found)])


def _lost_frames(lost: pa.Table, found: pa.Table) -> pa.Table:
    """Return the frames of the clips that could not be scored, one row per clip, beside those that could."""
    of_run = [*RUN, "quality"]
    sizes = found.select([*of_run, "video_id"]).to_pandas().groupby([*of_run, "video_id"]).size()
    medians = sizes.groupby(of_run).median()
    rows = lost.to_pandas()
    counts = [max(1, round(float(medians.get(key, 1)))) for key in rows[of_run].itertuples(index=False, name=None)]
    rows = rows.loc[rows.index.repeat(counts)]
    rows = rows.assign(frames=0, score=_worst_scores(rows["label"]))
    rows["frame_index"] = -1 - rows.groupby([*of_run, "video_id"]).cumcount()
    return pa.table({field.name: pa.array(rows[field.name], field.type, from_pandas=True) for field in lost.schema})


def unscored_clips(predictions: pa.Table) -> list[Row]:
    """Return the clips that could not be scored, one row per clip and quality, with the number of runs concerned."""
    columns = ["split", "quality", "label", "action", "person_id", "video_id"]
    lost = predictions.filter(pc.less(predictions["frame_index"], 0))
    counts = lost.group_by(columns, use_threads=False).aggregate([([], "count_all")])
    rows = counts.sort_by([(name, "ascending") for name in columns]).to_pylist()
    return [{**{name: row[name] for name in columns}, "runs": row["count_all"]} for row in rows]


def video_level(predictions: pa.Table, by: Literal["mean", "median", "top"] = "mean", top_k: int = 3) -> pa.Table:
    """Return one sample per run, quality and video: the aggregated ``score`` and the number of ``frames``.

    A video is identified by its id and quality alone. Grouping by the name of the frame folder, as much code of the
    field does, merges several fakes of one source into one video and inflates the AUC. A video that could not be scored
    has the score UNSCORED_FAKE or UNSCORED_REAL and 0 frames.

    Args:
        predictions: rows of tables.PREDICTIONS.
        by: mean, median, or top: mean of the ``top_k`` highest scores.
        top_k: number of scores for top; all scores where a video has fewer frames.

    Raises: ConfigError when frames of one video differ in label, split, action or person.
    """
    key = [*RUN, "quality", "video_id"]
    columns = [*key, *_OF_VIDEO, "driver", "score"]
    # Rounding of sums depends on the order of the terms, so the order must not depend on the input.
    order = [(name, "ascending") for name in (*key, "score")]
    frames = predictions.select([*columns, "frame_index"]).sort_by(order)
    if not frames.num_rows:
        return _samples(frames.select(columns), np.zeros(0), np.zeros(0, np.int64))
    first = np.ones(frames.num_rows, bool)
    first[1:] = _differs(frames, key)
    video, starts = np.cumsum(first) - 1, np.flatnonzero(first)
    for name in _OF_VIDEO:
        mixed = _differs(frames, [name]) & ~first[1:]
        if mixed.any():
            where = frames["video_id"][int(mixed.argmax())].as_py()
            raise ConfigError(f"video {where} has frames with more than one {name} in the predictions")
    scores = pd.Series(frames["score"].to_numpy())
    if by == "top":
        best = scores.sort_values(ascending=False, kind="stable")
        best = best.groupby(video[best.index]).head(top_k)
        score = best.groupby(video[best.index]).mean()
    else:
        score = scores.groupby(video).agg(by)
    seen = np.add.reduceat((frames["frame_index"].to_numpy() >= 0).astype(np.int64), starts)
    return _samples(frames.select(columns).take(starts), score.to_numpy(), seen)


def _samples(videos: pa.Table, scores: Floats, frames: Integers) -> pa.Table:
    """Return videos with their scores and numbers of frames; one without frames has the worst score."""
    lost = frames == 0
    worst = np.where(videos["label"].to_numpy() == 1, UNSCORED_FAKE, UNSCORED_REAL)
    scores = np.where(lost, worst, scores.astype(np.float64))
    videos = videos.set_column(videos.schema.get_field_index("score"), "score", pa.array(scores))
    return videos.append_column("frames", pa.array(frames))


def _differs(table: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return for every row but the first whether it differs from the one before it in some column."""
    changed = np.zeros(max(0, table.num_rows - 1), bool)
    for name in columns:
        codes = _codes(table[name])
        changed |= codes[1:] != codes[:-1]
    return changed


def _codes(values: pa.ChunkedArray) -> Integers:
    """Return a number per value, the same for the same; null is a value too."""
    found = pc.dictionary_encode(values, null_encoding="encode").combine_chunks()
    return np.asarray(found.indices.to_numpy())


def filter_rows(samples: pa.Table, values: Mapping[str, object]) -> pa.Table:
    """Return the rows with the given values in the given columns."""
    return samples.filter(reduce(pc.and_, [pc.equal(samples[name], value) for name, value in values.items()]))


def _worst_scores(labels: pd.Series) -> pd.Series:
    return labels.map({0: UNSCORED_REAL, 1: UNSCORED_FAKE})


def _check_columns(path: Path | str) -> None:
    known = column_names(path)
    if missing := [name for name in PREDICTIONS.names if name not in known]:
        raise ConfigError(f"{path} is not a table of predictions: it has no column {', '.join(missing)}")


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


def _check_repeated(table: pa.Table) -> None:
    key = [*RUN, "quality", "video_id", "frame_index"]
    # One number per frame instead of six cells takes a tenth of the memory; their product is far below 2**63.
    numbers = np.zeros(table.num_rows, np.int64)
    for name in key:
        codes = _codes(table[name])
        numbers = numbers * (1 + codes.max(initial=0)) + codes
    if len(np.unique(numbers)) == len(numbers):
        return
    counts = table.group_by(key, use_threads=False).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    first = ", ".join(f"{name} {value}" for name, value in repeated.slice(0, 1).to_pylist()[0].items() if name in key)
    raise ConfigError(f"{repeated.num_rows} frames were predicted more than once by one run, e.g. {first}")
