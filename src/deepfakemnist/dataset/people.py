"""People of a dataset: whether their ids are known, and whether test shows people whom train shows.

A published tree does not say who is in a fake; its fakes, and real videos without a person in their name, then have
their own name as ``person_id``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.training_sets import PAPER, PERSON, parse_training_set
from deepfakemnist.dataset.training_sets import resplit
from deepfakemnist.tables.dataset_schemas import PUBLISHED_SPLIT
from deepfakemnist.tables.files import read_metadata
from deepfakemnist.tables.schemas import Row


def has_published_split(videos: Path | str) -> bool:
    """Return whether the clips of a tables.VIDEOS keep the split that they were published with."""
    return read_metadata(videos).get("split") == PUBLISHED_SPLIT["split"]


def people_are_known(videos: Iterable[Row] | pa.Table, published: bool) -> bool:
    """Return whether every video has the id of a person, not its own name in place of one.

    Args:
        videos: rows of tables.VIDEOS.
        published: they keep the split that they were published with. In a run of the user's own videos, a real whose
            person has its name is one that the user says is a person of their own.
    """
    if isinstance(videos, pa.Table):
        videos = videos.select(["video_id", "label", "person_id"])
        own = pc.equal(videos["person_id"], videos["video_id"])
        if not published:
            own = pc.and_(own, pc.equal(videos["label"], 1))
        return not pc.any(pc.or_(own, pc.equal(pc.fill_null(videos["person_id"], ""), ""))).as_py()
    return all(
        row["person_id"] and not (row["person_id"] == row["video_id"] and (row["label"] == 1 or published))
        for row in videos
    )


def train_people_in_test(videos: pa.Table, trained_on: str) -> bool:
    """Return whether test of a training set shows people who are in its train: split by video, or as published.

    Args:
        videos: rows of tables.VIDEOS.
        trained_on: see :func:`deepfakemnist.config.training_sets.parse_training_set`. Folds are by person.
    """
    if parse_training_set(trained_on).split not in (PERSON, PAPER):
        return False
    rows = resplit(videos, trained_on)
    train, test = (
        set(rows.filter(pc.equal(rows["split"], split))["person_id"].to_pylist()) for split in ("train", "test")
    )
    return not train.isdisjoint(test)
