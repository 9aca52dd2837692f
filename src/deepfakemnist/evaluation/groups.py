"""Subgroup evaluation: seen and unseen drivers, animators, and terciles of face size, sharpness and brightness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.dataset.training_sets import resplit, select_rows
from deepfakemnist.evaluation.aggregation import read_predictions, video_level
from deepfakemnist.evaluation.stage import (
    METRICS_COLUMNS,
    key_of,
    measure,
    qualify_people,
    run_groups,
    sorted_rows,
)
from deepfakemnist.tables.files import read_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

_KEY = ("detector", "trained_on", "tested_on", "split", "level", "group", "value")
GROUPS_COLUMNS = (*_KEY, *(name for name in METRICS_COLUMNS if name not in _KEY))
#: Columns of tables.CROPPED whose terciles are groups; a fake has the values of its source.
_CROP_COLUMNS = ("face_px", "sharpness", "brightness")
_TERCILES = ("low", "middle", "high")


def evaluate_groups(
    predictions: Sequence[Path | str],
    videos: Path | str,
    crops: Sequence[Path | str],
    groups_tsv: Path | str,
    settings: EvaluationSettings,
) -> None:
    """Evaluate every run on groups of the test videos; columns as in metrics.tsv, plus ``group`` and ``value``.

    ``driver``: fakes whose driver is the driver of training fakes too (seen) or of none (unseen), against all reals.
    ``driver_person``: the same for the person in the driving video. ``animator``: the fakes of each, against all reals.
    ``face_px``, ``sharpness``, ``brightness``: reals and fakes whose source is in the lowest, middle or highest tercile
    of the test sources.

    Args:
        predictions: tables with tables.PREDICTIONS.
        videos: table with tables.VIDEOS.
        crops: tables with tables.CROPPED of the sources; empty for imported clips.
        groups_tsv: file to write.
        settings: calibration bins.
    """
    samples = video_level(read_predictions(predictions, videos))
    listed = read_table(videos)
    cropped = _read_tables(crops) if crops else None
    groups = {
        name: _groups(resplit(listed, name).to_pandas(), select_rows(listed, "train", name).to_pandas(), cropped)
        for name in pc.unique(samples["trained_on"]).to_pylist()
    }
    rows: list[Row] = []
    for runs in run_groups(samples):
        key = key_of(runs, "video")
        if key["split"] != "test":
            continue
        clips = pa.concat_tables([run.select(["video_id", "label"]) for run in runs]).to_pandas().drop_duplicates()
        members = clips.merge(groups[key["trained_on"]], on="video_id")
        for group, values in _members(members):
            for value, chosen in values:
                parts = [run.filter(pc.is_in(run["video_id"], pa.array(chosen, pa.string()))) for run in runs]
                measured = measure(parts, settings)
                rows += [{**key, "group": group, "value": value, **row} for row in measured]
    qualify_people(rows, videos)
    write_tsv(groups_tsv, GROUPS_COLUMNS, sorted_rows(rows, _KEY))


def _groups(videos: pd.DataFrame, trained: pd.DataFrame, crops: pd.DataFrame | None) -> pd.DataFrame:
    """Return one row per test video: video_id and a column per group, empty where the video is in none.

    ``trained`` are the videos of the training set.
    """
    videos = videos.drop_duplicates("video_id").fillna({"driver_id": "", "driver_person_id": "", "animator": ""})
    train = trained[trained["label"] == 1]
    test = videos[videos["split"] == "test"].copy()
    for name in ("driver", "driver_person"):
        seen = test[f"{name}_id"].isin(train[f"{name}_id"])
        # A published fake may have an unknown driver.
        test[name] = np.where(test[f"{name}_id"] == "", "", np.where(seen, "seen", "unseen"))
    columns = ["video_id", "driver", "driver_person", "animator"]
    if crops is None:
        return test[columns]
    sources = crops.set_index("video_id").loc[lambda rows: ~rows.index.duplicated(), list(_CROP_COLUMNS)]
    ranks = sources[sources.index.isin(test["source_id"])].rank(pct=True, method="average")
    for name in _CROP_COLUMNS:
        rank = test["source_id"].map(ranks[name])
        test[name] = pd.cut(rank, [0, 1 / 3, 2 / 3, 1], labels=_TERCILES).astype(object).fillna("")
    return test[[*columns, *_CROP_COLUMNS]]


def _members(members: pd.DataFrame) -> Iterable[tuple[str, list[tuple[str, list[str]]]]]:
    """Yield every group with its values and the videos of each; groups defined on fakes alone get all reals."""
    reals = members["label"] == 0
    for group in members.columns.drop(["video_id", "label"]):
        of_fakes = group not in _CROP_COLUMNS
        values = sorted(set(members[group]) - {""}, key=lambda value: value if of_fakes else _TERCILES.index(value))
        yield (
            group,
            [
                (value, members.loc[(members[group] == value) | (reals & of_fakes), "video_id"].tolist())
                for value in values
            ],
        )


def _read_tables(paths: Sequence[Path | str]) -> pd.DataFrame:
    return pa.concat_tables([read_table(path) for path in paths], promote_options="permissive").to_pandas()
