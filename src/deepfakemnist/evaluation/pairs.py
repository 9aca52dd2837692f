"""Pairwise comparison of detectors on the same samples, pooled over seeds, with intervals and p-values."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.aggregation import filter_rows
from deepfakemnist.evaluation.clusters import Clusters
from deepfakemnist.evaluation.estimates import COMPARED, paired_difference
from deepfakemnist.multiple_tests import holm
from deepfakemnist.tables.schemas import Row

_VALUES = tuple(f"{name}{part}" for name in COMPARED for part in ("_difference", "_low", "_high", "_p", "_p_holm"))
PAIRS_COLUMNS = (
    "detector",
    "other",
    "trained_on",
    "tested_on",
    "split",
    "level",
    "seeds",
    *_VALUES,
    "generalises_to",
    "n_samples",
    "n_videos",
    "n_people",
)
_SHARED = ("trained_on", "quality", "split")


def compare_runs(samples: pa.Table, level: str) -> list[Row]:
    """Return one row per pair of detectors with the same training set, for each quality and split.

    Columns ``…_p_holm`` are p-values adjusted (Holm, 1979) for all comparisons of a metric on one split and level.

    Args:
        samples: samples of one level, see evaluation.aggregation.
        level: name of the level.

    Raises: ConfigError when two runs did not score the same samples.
    """
    rows: list[Row] = []
    keys = samples.group_by(list(_SHARED), use_threads=False).aggregate([]).sort_by([(n, "ascending") for n in _SHARED])
    for key in keys.to_pylist():
        group = filter_rows(samples, key)
        parts = {name: filter_rows(group, {"detector": name}) for name in pc.unique(group["detector"]).to_pylist()}
        for first, second in combinations(sorted(parts), 2):
            rows.append(
                {
                    "detector": first,
                    "other": second,
                    "trained_on": key["trained_on"],
                    "tested_on": key["quality"],
                    "split": key["split"],
                    "level": level,
                    **compare_samples(parts[first], parts[second]),
                }
            )
    for split in {row["split"] for row in rows}:
        family = [row for row in rows if row["split"] == split]
        for name in COMPARED:
            adjusted = holm([row[f"{name}_p"] for row in family])
            for row, p in zip(family, adjusted, strict=True):
                row[f"{name}_p_holm"] = p
    return rows


def compare_samples(first: pa.Table, second: pa.Table) -> Row:
    """Compare two detectors on samples of one level, each by the mean over its seeds.

    Returns: columns of PAIRS_COLUMNS from ``seeds`` on, but for the adjusted p-values.

    Raises: ConfigError when they did not score the same samples with every seed.
    """
    runs = [_by_seed(table) for table in (first, second)]
    reference = next(iter(runs[0].values()))
    names = [name for name in ("video_id", "frame_index", "label", "person_id") if name in reference.column_names]
    wanted = reference.select(names)
    for one in (run for by_seed in runs for run in by_seed.values()):
        if not one.select(names).equals(wanted):
            raise ConfigError(
                f"{reference['detector'][0]} and {one['detector'][0]} did not score the same samples "
                f"({reference.num_rows} and {one.num_rows}); run predict for both on one manifest"
            )
    labels = reference["label"].to_numpy().astype(np.float64)
    clusters = Clusters(labels, reference["person_id"].to_pylist(), reference["driver"].to_pylist())
    scores = [[run["score"].to_numpy().astype(np.float64) for run in by_seed.values()] for by_seed in runs]
    seeds = [",".join(map(str, by_seed)) for by_seed in runs]
    row: Row = {
        "seeds": seeds[0] if seeds[0] == seeds[1] else " / ".join(seeds),
        "generalises_to": clusters.generalises_to(min(map(len, runs))),
        "n_samples": reference.num_rows,
        "n_videos": len(pc.unique(reference["video_id"])),
        "n_people": clusters.n_people,
    }
    for name, difference in paired_difference(labels, scores[0], scores[1], clusters).items():
        row[f"{name}_difference"] = difference.value
        row |= {f"{name}_low": difference.interval.low, f"{name}_high": difference.interval.high}
        row[f"{name}_p"] = difference.p
    return row


def _by_seed(table: pa.Table) -> dict[int, pa.Table]:
    """Return the samples of each seed, in ascending order of seed, video and frame."""
    order = [name for name in ("video_id", "frame_index") if name in table.column_names]
    ordered = table.sort_by([(name, "ascending") for name in ("seed", *order)])
    return {seed: filter_rows(ordered, {"seed": seed}) for seed in pc.unique(ordered["seed"]).to_pylist()}
