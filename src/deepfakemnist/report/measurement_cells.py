"""Cells of the report's tables of detectors: a metric with interval, spread and the paper's result; sizes; chance."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deepfakemnist.config.training_sets import parse_training_set
from deepfakemnist.report.rounding import TOO_FEW, USUAL, decimals, with_interval

Cells = dict[str, str]

#: Balanced accuracy and AUC, in percent, of any answer that does not depend on the clip.
CHANCE = "50"
#: Last columns of every table: what its figures and intervals are of.
SIZES = ("videos", "people", "interval for")
NO_SIZES = [""] * len(SIZES)
#: Columns that name a run of a detector, all seeds together.
RUN = ("detector", "trained_on", "tested_on")
_TOO_FEW = re.compile(r"too few people( with (?:reals|fakes))? \((\d+)\)")


class Percent(NamedTuple):
    """A metric in percent: value, ends of its 95 % interval, standard deviation over seeds; None where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    sd: float | None = None


def over_seeds(rows: Sequence[Cells]) -> Cells | None:
    """Return the row of a measurement for all seeds: of their mean, or of the only one; None without rows."""
    return next((row for row in rows if row["seed"] == "mean"), rows[0] if rows else None)


def percent(rows: Sequence[Cells], name: str) -> Percent:
    """Return a metric of a measurement.

    Args:
        rows: rows of one measurement: one per seed, and mean and sd where there are several seeds.
        name: column of the metric.
    """
    row = over_seeds(rows)
    if row is None or not row[name]:
        return Percent(None)
    spread = next((one[name] for one in rows if one["seed"] == "sd"), "")
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    return Percent(*(100 * float(text) if text else None for text in (row[name], low, high, spread)))


def cell(rows: Sequence[Cells], name: str, paper: str | None = None, *, with_people: bool = True) -> str:
    """Return a metric as ``94.3 [91.0–97.1] ± 0.8 / 94.32``: value, interval, spread over seeds, the paper's result.

    ``94 [6 people]`` has too few people for an interval, ``94 [8 people with fakes]`` too few in one class.

    Args:
        rows: rows of one measurement: one per seed, and mean and sd where there are several seeds.
        name: column of the metric.
        paper: the paper's result in percent, as text; None where it has none.
        with_people: say in the cell that people are too few for an interval.
    """
    found = percent(rows, name)
    row = over_seeds(rows)
    if row is None or found.value is None:
        text = "–"
    else:
        few = _TOO_FEW.search(row.get("generalises_to", ""))
        without = TOO_FEW if few else USUAL
        text = with_interval(found.value, found.low, found.high, without)
        if few and found.low is None and with_people:
            text += f" [{few[2]} {'person' if few[2] == '1' else 'people'}{few[1] or ''}]"
        if found.sd is not None:
            text += f" ± {found.sd:.{decimals(found.low, found.high, without)}f}"
    return text if paper is None else f"{text} / {paper}"


def as_tested(row: Cells) -> tuple[object, ...]:
    """Return a key that sorts rows by detector, training set and test quality, raw first."""
    trained = parse_training_set(row["trained_on"])
    return (
        row["detector"], trained.quality != "raw", trained.quality, row["trained_on"],
        row["tested_on"] != "raw", row["tested_on"],
    )  # fmt: skip


def qualities_of(rows: Iterable[Cells]) -> list[str]:
    """Return the test qualities of rows, raw first."""
    return sorted({row["tested_on"] for row in rows}, key=lambda name: (name != "raw", name))


class RowIndex:
    """Rows of an evaluation table by level, video or frame, and by some columns; a page asks for thousands of cells.

    Args:
        rows: rows of the table.
        columns: those that every question names.
    """

    def __init__(self, rows: Iterable[Cells], columns: Sequence[str]) -> None:
        self._columns = columns
        self._rows: dict[tuple[str, ...], list[Cells]] = defaultdict(list)
        for row in rows:
            self._rows[row["level"], *(row[name] for name in columns)].append(row)

    def measurements(self) -> list[dict[str, str]]:
        """Return the values of the columns that occur, by column, in the order of the table."""
        found = dict.fromkeys(key[1:] for key in self._rows)
        return [dict(zip(self._columns, key, strict=True)) for key in found]

    def find(self, level: str, **wanted: str) -> list[Cells]:
        """Return the rows of a level that have the wanted cells, in the order of the table.

        Raises: TypeError where ``wanted`` does not name the columns of the index.
        """
        if wanted.keys() != set(self._columns):
            raise TypeError(f"this index is by {', '.join(self._columns)}, not by {', '.join(wanted)}")
        return self._rows.get((level, *(wanted[name] for name in self._columns)), [])


def chance(labels: int, measured: int) -> list[str]:
    """Return the last row of a table: the chance level below each measured column, after ``labels`` columns."""
    return ["chance", *[""] * (labels - 1), *[CHANCE] * measured, *NO_SIZES]


def sizes(measurements: Iterable[Sequence[Cells]]) -> list[str]:
    """Return the numbers of videos and of people behind the cells of a row, and what their intervals hold for.

    Numbers are ranges where cells differ.

    Args:
        measurements: the rows of each cell: one per seed, and mean and sd where there are several seeds.
    """
    kept = [row for rows in measurements for row in _over_seeds(rows)]
    counts = []
    for name in ("n_videos", "n_people"):
        numbers = sorted({int(row[name]) for row in kept if row[name]})
        counts.append("–".join(map(str, dict.fromkeys((numbers[0], numbers[-1])))) if numbers else "")
    return [*counts, _interval_for(kept)]


def sizes_in_order(measurements: Sequence[Sequence[Cells]]) -> list[str]:
    """Return the same where each cell has test clips of its own: ``180, 56, –`` in the order of the columns."""
    kept = [_over_seeds(rows) for rows in measurements]
    counts = []
    for name in ("n_videos", "n_people"):
        numbers = [next((row[name] for row in rows if row[name]), "–") for rows in kept]
        counts.append(numbers[0] if len(set(numbers)) == 1 else ", ".join(numbers))
    return [*counts, _interval_for(row for rows in kept for row in rows)]


def _over_seeds(rows: Sequence[Cells]) -> list[Cells]:
    """Return the row of the mean, which says it for all seeds, or else those of the seeds."""
    return [row for row in rows if row["seed"] == "mean"] or [row for row in rows if row["seed"] != "sd"]


def _interval_for(rows: Iterable[Cells]) -> str:
    """Return what intervals hold for; that a cell has none, because of its own few people, is said in the cell."""
    texts = (row["generalises_to"].partition("; too few")[0] for row in rows)
    return " | ".join(dict.fromkeys(text for text in texts if text))
