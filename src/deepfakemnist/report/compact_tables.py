"""Tables without columns that hold one value in all rows: a sentence above the table says it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypeVar

from deepfakemnist.report.measurement_cells import SIZES
from deepfakemnist.report.parts import Column, Table

_EMPTY = ("", "–", None)
_Cell = TypeVar("_Cell")


def compact(table: Table, mergeable: Collection[str] = SIZES, footer: int = 0) -> Table:
    """Return a table without those columns whose value is the same in all rows that have one.

    Args:
        table: the table.
        mergeable: titles of columns that may go.
        footer: number of last rows, such as the chance level, that have nothing in these columns.
    """
    titles = [column.title if isinstance(column, Column) else column for column in table.columns]
    rows = table.rows[: len(table.rows) - footer]
    if not rows:
        return table
    values = {
        place: dict.fromkeys(row[place] for row in rows if row[place] not in _EMPTY)
        for place, title in enumerate(titles)
        if title in mergeable
    }
    gone = {place: [*found] for place, found in values.items() if len(found) < 2}
    said: dict[str, list[str]] = {"All rows": [], "Where measured": []}
    for place, found in gone.items():
        if found:
            lacks = any(row[place] in _EMPTY for row in rows)
            said["Where measured" if lacks else "All rows"].append(f"{titles[place]}: {found[0]}")
    sentences = [f"{where}: {'; '.join(texts)}." for where, texts in said.items() if texts]
    note = " ".join(text for text in (table.note, *sentences) if text)
    return replace(
        table, columns=_without(table.columns, gone), rows=[_without(row, gone) for row in table.rows], note=note
    )


def _without(cells: Sequence[_Cell], gone: Collection[int]) -> list[_Cell]:
    return [cell for place, cell in enumerate(cells) if place not in gone]
