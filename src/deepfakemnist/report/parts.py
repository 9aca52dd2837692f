"""Parts of a report page: its lead, tables, charts, and blocks of other HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from markupsafe import Markup

#: Headers of columns with names that may look like numbers (person 129, seed 0).
_NAMES = frozenset(
    {"video", "video_id", "person", "person_id", "people", "source", "source_id", "driver", "driver_id", "seed", "hash"}
)
_COUNTS = frozenset({"people"})
#: The number a cell starts with: ``94.3 [91.0–97.1]``, ``≈ 12``, ``< 0.001``, ``+1.2``, ``1,234``.
_LEADING_NUMBER = re.compile(r"[≈<>≤≥~\s]*([+−-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w:/])")
_DASHES = ("", "–")


@dataclass(frozen=True)
class Lead:
    """The paragraph at the top of a page.

    Args:
        shows: what the page shows.
        reading: how its tables and charts are read.
        limits: what they must not be taken for.
    """

    shows: str
    reading: str = ""
    limits: str = ""


@dataclass(frozen=True)
class Picture:
    """A table cell with a picture, as a data URL, above its caption."""

    url: str
    caption: str


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: header, with the unit.
        is_name: values are names, such as ids, aligned and sorted as text even where they look like numbers. None: by
            the title.
    """

    title: str
    is_name: bool | None = None

    def holds_names(self) -> bool:
        """Return whether the values are names, whatever they look like."""
        return self.title.lower() in _NAMES - _COUNTS if self.is_name is None else self.is_name


@dataclass(frozen=True)
class Table:
    """A titled table, sortable; beyond ten rows searchable, beyond 25 in pages.

    Cells are shown unchanged, numbers right-aligned, pictures above their caption.

    Args:
        title: heading; of a table without rows, "None." is below it.
        columns: headers with units, or columns.
        rows: cells, as many as columns; any number of rows.
        note: a sentence or two between heading and table.
        file: name of the downloads, without suffix. "": from the title.
    """

    title: str
    columns: Sequence[str | Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    file: str = ""


@dataclass(frozen=True)
class Chart:
    """A titled Vega-Lite chart of rows, which are also its table and its downloads.

    Args:
        title: heading.
        drawing: Altair chart on :data:`deepfakemnist.report.charts.ROWS`; needs no size, title or theme.
        rows: data, one mapping per mark, all with the same keys, in the units of the axes.
        alt: what the chart shows, in a sentence that stands for it where it cannot be seen.
        caption: how many videos and people it is of, and how to read it.
        file: name of the downloads, without suffix. "": from the title.
    """

    title: str
    drawing: alt.TopLevelMixin
    rows: Sequence[Mapping[str, Any]]
    alt: str
    caption: str = ""
    file: str = ""


@dataclass(frozen=True)
class Block:
    """A titled piece of HTML of its own, with the styles and scripts that it needs; no heading where title is empty."""

    title: str
    html: Markup


Part = Table | Chart | Block


def sort_key(cell: object) -> float | None:
    """Return the number that a cell is sorted by; None where it does not start with one."""
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, int | float):
        return float(cell)
    if not isinstance(cell, str):
        return None
    found = _LEADING_NUMBER.match(cell)
    return float(found[1].replace(",", "").replace("−", "-")) if found else None


def is_number_column(column: Column, cells: Sequence[object]) -> bool:
    """Return whether every cell with a value starts with a number, and the column is not one of names."""
    if column.holds_names():
        return False
    known = [cell for cell in cells if not (isinstance(cell, str) and cell in _DASHES) and cell is not None]
    return bool(known) and all(sort_key(cell) is not None for cell in known)
