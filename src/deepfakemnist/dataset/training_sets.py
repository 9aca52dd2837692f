"""Training-set selection: manifest rows by quality, action, animator, driver, share of people and split.

A set with some of the fakes has the reals of those fakes alone. The paper has as many reals as fakes; with all reals,
training on one of ten actions would see ten of them for each fake. Sampling would balance the classes, too, but leave a
real and its fake, which show one face and one scene, less often together, and repeat frames of the smaller class.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.training_sets import PAPER, PERSON, TrainingSet, parse_training_set
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from


def select_rows(rows: pa.Table, split: str, trained_on: str) -> pa.Table:
    """Return the frames or videos of a split that belong to a training set.

    Args:
        rows: frames or videos with ``video_id``, ``source_id``, ``person_id``, ``quality``, ``label``, ``action``,
            ``animator`` and the columns of all splits.
        split: train, val or test.
        trained_on: see :func:`deepfakemnist.config.training_sets.parse_training_set`.

    Raises: ConfigError when no row has the quality, or the split is not recorded.
    """
    wanted = parse_training_set(trained_on)
    rows = resplit(rows, trained_on)
    if wanted.quality != MIXED:
        qualities = sorted(set(rows["quality"].to_pylist()))
        if wanted.quality not in qualities:
            raise ConfigError(
                f"trained_on: {wanted.quality!r} has no frames; the index has {', '.join(qualities) or 'none'}"
            )
        rows = rows.filter(pc.equal(rows["quality"], wanted.quality))
    rows = rows.filter(pc.equal(rows["split"], split))
    if split == "train":
        rows = _of_some_people(rows, wanted.people)
    action, real = pc.fill_null(rows["action"], ""), pc.equal(rows["label"], 0)
    if wanted.only is not None:
        rows = rows.filter(pc.or_(real, pc.equal(action, wanted.only)))
    elif wanted.without is not None:
        rows = rows.filter(pc.or_(real, pc.not_equal(action, wanted.without)))
    animator = pc.fill_null(rows["animator"], "") if wanted.by_animator else None
    if wanted.only_animator is not None:
        rows = rows.filter(pc.or_(pc.equal(rows["label"], 0), pc.equal(animator, wanted.only_animator)))
    elif wanted.without_animator is not None:
        rows = rows.filter(pc.or_(pc.equal(rows["label"], 0), pc.not_equal(animator, wanted.without_animator)))
    return _with_the_reals_of_fakes(rows) if wanted.restricted else rows


def resplit(rows: pa.Table, trained_on: str) -> pa.Table:
    """Return the rows with the split of a training set in the column ``split``, without those in no part of it.

    Of a set by driver, fakes whose driver is in another split are in no part, so test drivers are unseen in training.

    Args:
        rows: frames or videos with ``label``, ``split``, ``split_driver``, ``split_paper`` and ``fold``.
        trained_on: see :func:`deepfakemnist.config.training_sets.parse_training_set`.

    Raises: ConfigError when the split is not recorded.
    """
    wanted = parse_training_set(trained_on)
    if wanted.by_driver:
        same = pc.equal(pc.fill_null(rows["split_driver"], ""), rows["split"])
        rows = rows.filter(pc.or_(pc.equal(rows["label"], 0), same))
    if wanted.split == PERSON:
        return rows
    column = pc.fill_null(rows["split_paper"], "") if wanted.split == PAPER else _split_by_fold(rows, wanted)
    rows = rows.set_column(rows.schema.get_field_index("split"), "split", column)
    rows = rows.filter(pc.not_equal(rows["split"], ""))
    if not rows.num_rows:
        raise ConfigError(f"trained_on: {trained_on!r}, but this manifest has no split {wanted.split}")
    return rows


def _split_by_fold(rows: pa.Table, wanted: TrainingSet) -> pa.ChunkedArray:
    """Return the split by fold: the set's own is test, the next one val, the others train; empty without folds."""
    folds = (pc.max(rows["fold"]).as_py() or 0) + 1
    if wanted.fold is None or wanted.fold >= folds:
        return pa.chunked_array([pa.array([""] * rows.num_rows)])
    val = pc.equal(rows["fold"], (wanted.fold + 1) % folds)
    split = pc.if_else(pc.equal(rows["fold"], wanted.fold), "test", pc.if_else(val, "val", "train"))
    return pc.fill_null(split, "")


def _of_some_people(rows: pa.Table, percent: int) -> pa.Table:
    """Return the rows of a share of the people, at least one; the people of a smaller share are among them."""
    people = sorted(set(rows["person_id"].to_pylist()), key=lambda person: seed_from("people", person))
    chosen = people[: -(-len(people) * percent // 100)]
    return rows.filter(pc.is_in(rows["person_id"], pa.array(chosen, rows["person_id"].type)))


def _with_the_reals_of_fakes(rows: pa.Table) -> pa.Table:
    """Return the fakes and as many reals at most: their own and, where those are not known or not here, others."""
    is_real = pc.equal(rows["label"], 0)
    fakes, reals = rows.filter(pc.invert(is_real)), set(rows.filter(is_real)["video_id"].to_pylist())
    source_of = dict(zip(fakes["video_id"].to_pylist(), fakes["source_id"].to_pylist(), strict=True))
    own = reals & set(source_of.values())
    unpaired = sum(source not in reals for source in source_of.values())
    others = sorted(reals - own, key=lambda video: seed_from("reals", video))[:unpaired]
    kept = pa.array([*own, *others], rows["video_id"].type)
    return rows.filter(pc.or_(pc.invert(is_real), pc.is_in(rows["video_id"], kept)))
