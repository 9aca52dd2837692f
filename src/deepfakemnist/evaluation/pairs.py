"""Which of two detectors is better on the same clips, and is the difference more than the people drawn?"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.aggregation import rows_with
from deepfakemnist.evaluation.resampling import paired_difference
from deepfakemnist.ids import seed_from
from deepfakemnist.tables.schemas import Row

_VALUES = tuple(f"{name}{part}" for name in ("accuracy", "auc") for part in ("_difference", "_low", "_high", "_p"))
PAIRS_COLUMNS = (
    *("detector", "other", "trained_on", "tested_on", "split", "level", "seed"),
    *(*_VALUES, "n_samples", "n_people"),
)
_SHARED = ("trained_on", "seed", "quality", "split")


def compare_runs(samples: pa.Table, level: str, resamples: int, seed: int) -> list[Row]:
    """Return one row per two detectors with the same training set and seed, for each quality and split.

    Args:
        samples: of one level, see levels.
        level: its name, for the rows.
        resamples: draws of people.
        seed: of the draws.

    Raises: ConfigError when two runs did not score the same samples.
    """
    rows: list[Row] = []
    keys = samples.group_by(list(_SHARED), use_threads=False).aggregate([]).sort_by([(n, "ascending") for n in _SHARED])
    for key in keys.to_pylist():
        group = rows_with(samples, key)
        parts = {name: rows_with(group, {"detector": name}) for name in pc.unique(group["detector"]).to_pylist()}
        for first, second in combinations(sorted(parts), 2):
            values = difference_of(parts[first], parts[second], resamples, seed_from(seed, level, *key.values()))
            names = {"detector": first, "other": second, "level": level, "tested_on": key["quality"]}
            rows.append({**names, **{name: key[name] for name in ("trained_on", "seed", "split")}, **values})
    return rows


def difference_of(first: pa.Table, second: pa.Table, resamples: int, seed: int) -> Row:
    """Compare two detectors' samples of one level; columns as in PAIRS_COLUMNS from ``accuracy_difference`` on.

    Raises: ConfigError when they did not score the same samples.
    """
    order = [(name, "ascending") for name in ("video_id", "frame_index") if name in first.column_names]
    first, second = first.sort_by(order), second.sort_by(order)
    same = all(first[name].to_pylist() == second[name].to_pylist() for name in (*dict(order), "label", "person_id"))
    if not same:
        raise ConfigError(
            f"{first['detector'][0]} and {second['detector'][0]} did not score the same samples "
            f"({first.num_rows} and {second.num_rows}); predict both on one manifest"
        )
    people = first["person_id"].to_pylist()
    ours, theirs = (table["score"].to_numpy().astype(np.float64) for table in (first, second))
    found = paired_difference(first["label"].to_numpy(), ours, theirs, people, resamples, seed)
    row: Row = {"n_samples": first.num_rows, "n_people": len(set(people))}
    for name, gap in found.items():
        row |= {f"{name}_difference": gap.value, f"{name}_low": gap.interval.low, f"{name}_high": gap.interval.high}
        row[f"{name}_p"] = gap.p
    return row
