"""Subgroup evaluation: seen and unseen drivers, animators, and terciles of face size, sharpness and brightness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from deepfakemnist.dataset.training_sets import resplit, select_rows
from deepfakemnist.evaluation.measurement import KEY, METRICS_COLUMNS

#: Columns that identify a group: the test videos of a run that have a value in common.
GROUPS_KEY = (*KEY, "group", "value")
GROUPS_COLUMNS = (*GROUPS_KEY, *(name for name in METRICS_COLUMNS if name not in GROUPS_KEY))
#: Columns of tables.VIDEOS that decide the groups.
VIDEO_COLUMNS = (
    "video_id", "source_id", "person_id", "quality", "label", "action", "split", "split_driver", "split_paper", "fold",
    "driver_id", "driver_person_id", "animator",
)  # fmt: skip
#: Columns of tables.CROPPED whose terciles are groups; a fake has the values of its source.
CROP_COLUMNS = ("face_px", "sharpness", "brightness")
_TERCILES = ("low", "middle", "high")


def groups_of_videos(videos: pa.Table, crops: Sequence[pa.Table], trained_on: str) -> pd.DataFrame:
    """Return one row per test video of a training set: video_id and a column per group, empty where it is in none.

    ``driver``: fakes whose driver is the driver of training fakes too (seen) or of none (unseen). ``driver_person``:
    the same for the person in the driving video. ``animator``: the fakes of each. ``face_px``, ``sharpness``,
    ``brightness``: reals and fakes whose source is in the lowest, middle or highest tercile of the test sources.

    Args:
        videos: rows of tables.VIDEOS, with VIDEO_COLUMNS.
        crops: tables with ``video_id`` and CROP_COLUMNS of the sources; none for imported clips.
        trained_on: name of the training set.
    """
    drivers = ["driver_id", "driver_person_id"]
    trained = select_rows(videos, "train", trained_on).select(["label", *drivers]).to_pandas()
    listed = resplit(videos, trained_on).select(["video_id", "source_id", "split", "animator", *drivers]).to_pandas()
    listed = listed.drop_duplicates("video_id").fillna({"driver_id": "", "driver_person_id": "", "animator": ""})
    train = trained[trained["label"] == 1]
    test = listed[listed["split"] == "test"].copy()
    for name in ("driver", "driver_person"):
        seen = test[f"{name}_id"].isin(train[f"{name}_id"])
        # A published fake may have an unknown driver.
        test[name] = np.where(test[f"{name}_id"] == "", "", np.where(seen, "seen", "unseen"))
    columns = ["video_id", "driver", "driver_person", "animator"]
    if not crops:
        return test[columns]
    cropped = pa.concat_tables(crops, promote_options="permissive").to_pandas()
    sources = cropped.set_index("video_id").loc[lambda rows: ~rows.index.duplicated(), list(CROP_COLUMNS)]
    ranks = sources[sources.index.isin(test["source_id"])].rank(pct=True, method="average")
    for name in CROP_COLUMNS:
        rank = test["source_id"].map(ranks[name])
        test[name] = pd.cut(rank, [0, 1 / 3, 2 / 3, 1], labels=_TERCILES).astype(object).fillna("")
    return test[[*columns, *CROP_COLUMNS]]


def group_members(runs: Sequence[pa.Table], groups: pd.DataFrame) -> Iterator[tuple[str, str, pa.Array]]:
    """Yield every group and value with the ids of its videos; groups defined on fakes alone get all reals.

    Args:
        runs: samples at video level, a table per seed.
        groups: see :func:`groups_of_videos`.
    """
    clips = pa.concat_tables([run.select(["video_id", "label"]) for run in runs]).to_pandas().drop_duplicates()
    members = clips.merge(groups, on="video_id")
    reals = members["label"] == 0
    for group in members.columns.drop(["video_id", "label"]):
        of_fakes = group not in CROP_COLUMNS
        for value in sorted(
            set(members[group]) - {""}, key=lambda value: value if of_fakes else _TERCILES.index(value)
        ):
            chosen = members.loc[(members[group] == value) | (reals & of_fakes), "video_id"]
            yield group, value, pa.array(chosen.tolist(), pa.string())
