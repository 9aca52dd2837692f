"""Pairwise comparison of detectors on the same samples, with paired bootstrap intervals and p-values."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.aggregation import filter_rows
from deepfakemnist.evaluation.resampling import paired_difference
from deepfakemnist.ids import seed_from
from deepfakemnist.tables.schemas import Row

_VALUES = tuple(f"{name}{part}" for name in ("accuracy", "auc") for part in ("_difference", "_low", "_high", "_p"))
PAIRS_COLUMNS = (
    "detector",
    "other",
    "trained_on",
    "tested_on",
    "split",
    "level",
    "seed",
    *_VALUES,
    "n_samples",
    "n_people",
)
_SHARED = ("trained_on", "seed", "quality", "split")


def compare_runs(samples: pa.Table, level: str, resamples: int, seed: int) -> list[Row]:
    """Return one row per pair of detectors with the same training set and seed, for each quality and split.

    Args:
        samples: samples of one level, see evaluation.aggregation.
        level: name of the level.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Raises: ConfigError when two runs did not score the same samples.
    """
    rows: list[Row] = []
    keys = samples.group_by(list(_SHARED), use_threads=False).aggregate([]).sort_by([(n, "ascending") for n in _SHARED])
    for key in keys.to_pylist():
        group = filter_rows(samples, key)
        parts = {name: filter_rows(group, {"detector": name}) for name in pc.unique(group["detector"]).to_pylist()}
        for first, second in combinations(sorted(parts), 2):
            values = compare_samples(parts[first], parts[second], resamples, seed_from(seed, level, *key.values()))
            names = {"detector": first, "other": second, "level": level, "tested_on": key["quality"]}
            rows.append({**names, **{name: key[name] for name in ("trained_on", "seed", "split")}, **values})
    return rows


def compare_samples(first: pa.Table, second: pa.Table, resamples: int, seed: int) -> Row:
    """Compare two detectors on samples of one level; columns of PAIRS_COLUMNS from ``accuracy_difference`` on.

    Raises: ConfigError when they did not score the same samples.
    """
    order = [(name, "ascending") for name in ("video_id", "frame_index") if name in first.column_names]
    first, second = first.sort_by(order), second.sort_by(order)
    same = all(first[name].to_pylist() == second[name].to_pylist() for name in (*dict(order), "label", "person_id"))
    if not same:
        raise ConfigError(
            f"{first['detector'][0]} and {second['detector'][0]} did not score the same samples "
            f"({first.num_rows} and {second.num_rows}); run predict for both on one manifest"
        )
    people = first["person_id"].to_pylist()
    first_scores, second_scores = (table["score"].to_numpy().astype(np.float64) for table in (first, second))
    labels = first["label"].to_numpy()
    differences = paired_difference(labels, first_scores, second_scores, people, resamples, seed)
    row: Row = {"n_samples": first.num_rows, "n_people": len(set(people))}
    for name, difference in differences.items():
        row[f"{name}_difference"] = difference.value
        row |= {f"{name}_low": difference.interval.low, f"{name}_high": difference.interval.high}
        row[f"{name}_p"] = difference.p
    return row
