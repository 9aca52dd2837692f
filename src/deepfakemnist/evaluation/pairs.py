"""Pairwise comparison of detectors on the same samples, pooled over seeds, with intervals and p-values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.aggregation import filter_rows
from deepfakemnist.evaluation.clusters import Clusters
from deepfakemnist.evaluation.estimates import COMPARED, Averaged, averaged_difference, compared_metrics
from deepfakemnist.evaluation.influence import linearise
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
_ORDER = ("level", "trained_on", "tested_on", "split", "detector", "other")


class Scored(NamedTuple):
    """The runs of a detector on one set of samples, reduced to what a comparison needs.

    Args:
        detector: its name.
        samples: the samples of the first seed: what identifies them, label, person and driver.
        odd: the samples of a seed that scored others; None if there is none.
        metrics: those of COMPARED, averaged over the seeds; none if a seed scored others.
        seeds: the seeds.
    """

    detector: str
    samples: pa.Table
    odd: pa.Table | None
    metrics: dict[str, Averaged]
    seeds: list[int]


def scored(runs: Sequence[pa.Table], like: Scored | None = None) -> Scored:
    """Return what a comparison needs of the runs of a detector.

    Args:
        runs: samples of one level of each seed, in one order, see evaluation.aggregation.
        like: another detector on the same samples, whose table is kept in place of an equal one.
    """
    reference = _identity(runs[0] if like is None else like.samples)
    wanted = reference.drop_columns("driver")
    odd = next((run for run in map(_identity, runs) if not run.drop_columns("driver").equals(wanted)), None)
    metrics: dict[str, Averaged] = {}
    if odd is None:  # else no comparison is possible
        metrics = compared_metrics([linearise(run["label"].to_numpy(), run["score"].to_numpy()) for run in runs])
    seeds = [int(run["seed"][0].as_py()) for run in runs]
    return Scored(str(runs[0]["detector"][0]), reference, odd, metrics, seeds)


def compare_detectors(detectors: Sequence[Scored], key: Row) -> list[Row]:
    """Return one row per pair of detectors on the same samples, without the adjusted p-values.

    Args:
        detectors: in ascending order of name; all with the samples of the first, see :func:`scored`.
        key: columns trained_on, tested_on, split and level.

    Raises: ConfigError when two runs did not score the same samples.
    """
    clusters = None
    rows: list[Row] = []
    for first, second in combinations(detectors, 2):
        clusters = clusters or _clusters(first)
        rows.append({"detector": first.detector, "other": second.detector, **key, **_compare(first, second, clusters)})
    return rows


def adjusted(rows: Iterable[Row]) -> list[Row]:
    """Return the rows in the order of pairs.tsv, with p-values adjusted for all comparisons of a split and level.

    Columns ``…_p_holm`` follow Holm (1979), for each metric apart.
    """
    rows = sorted(rows, key=lambda row: tuple(row[name] for name in _ORDER))
    for family in {(row["level"], row["split"]) for row in rows}:
        members = [row for row in rows if (row["level"], row["split"]) == family]
        for name in COMPARED:
            for row, p in zip(members, holm([row[f"{name}_p"] for row in members]), strict=True):
                row[f"{name}_p_holm"] = p
    return rows


def compare_samples(first: pa.Table, second: pa.Table) -> Row:
    """Compare two detectors on samples of one level, each by the mean over its seeds.

    Returns: columns of PAIRS_COLUMNS from ``seeds`` on, but for the adjusted p-values.

    Raises: ConfigError when they did not score the same samples with every seed.
    """
    one = scored(_by_seed(first))
    return _compare(one, scored(_by_seed(second), like=one), _clusters(one))


def _compare(first: Scored, second: Scored, clusters: Clusters) -> Row:
    for one in (first, second):
        if one.odd is not None:
            raise ConfigError(
                f"{first.detector} and {second.detector} did not score the same samples ({first.samples.num_rows} and "
                f"{one.odd.num_rows}); run predict for both on one manifest"
            )
    seeds = [",".join(map(str, one.seeds)) for one in (first, second)]
    row: Row = {
        "seeds": seeds[0] if seeds[0] == seeds[1] else " / ".join(seeds),
        "generalises_to": clusters.generalises_to(min(len(first.seeds), len(second.seeds))),
        "n_samples": first.samples.num_rows,
        "n_videos": len(pc.unique(first.samples["video_id"])),
        "n_people": clusters.n_people,
    }
    for name, difference in averaged_difference(first.metrics, second.metrics, clusters).items():
        row[f"{name}_difference"] = difference.value
        row |= {f"{name}_low": difference.interval.low, f"{name}_high": difference.interval.high}
        row[f"{name}_p"] = difference.p
    return row


def _identity(samples: pa.Table) -> pa.Table:
    names = ("video_id", "frame_index", "label", "person_id", "driver")
    return samples.select([name for name in names if name in samples.column_names])


def _clusters(one: Scored) -> Clusters:
    return Clusters(one.samples["label"].to_numpy(), one.samples["person_id"], one.samples["driver"])


def _by_seed(table: pa.Table) -> list[pa.Table]:
    """Return the samples of each seed, in ascending order of seed, video and frame."""
    order = [name for name in ("video_id", "frame_index") if name in table.column_names]
    ordered = table.sort_by([(name, "ascending") for name in ("seed", *order)])
    return [filter_rows(ordered, {"seed": seed}) for seed in pc.unique(ordered["seed"]).to_pylist()]
