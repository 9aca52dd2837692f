"""Self-contained HTML pages of the report, which open offline: sortable tables, interactive charts, other blocks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deepfakemnist.report import browser_libraries
from deepfakemnist.report.charts import specification
from deepfakemnist.report.parts import Block, Chart, Column, Lead, Part, Picture, Table, is_number_column, sort_key
from deepfakemnist.tables.files import atomic_path

#: Tables with more rows are unpacked in the browser, a page of rows at a time: a hundred thousand would take minutes.
_MAX_STATIC_ROWS = 200
#: The page that all others lead back to.
FRONT = "overview.html"
_ENVIRONMENT = Environment(
    loader=PackageLoader("deepfakemnist.report", "templates"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def write_page(path: Path, title: str, lead: str | Lead, parts: Sequence[Part], notices: Sequence[str] = ()) -> None:
    """Write one HTML page that needs no other file and no host.

    Args:
        path: file to write.
        title: heading.
        lead: what the page shows, how it is read, and what it must not be taken for.
        parts: tables, charts and blocks, in page order.
        notices: sentences that stand above all else, such as that the numbers of a demo mean nothing.
    """
    context = _context(title, lead if isinstance(lead, Lead) else Lead(lead), parts, notices)
    context["is_front"] = path.name == FRONT
    text = _ENVIRONMENT.get_template("page.html.j2").render(context)
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def render(template: str, **context: Any) -> Markup:
    """Return a template of the report as HTML, for a :class:`Block`. Values are escaped, missing ones raise."""
    return Markup(_ENVIRONMENT.get_template(template).render(context))  # noqa: S704 - the template escapes


def _context(title: str, lead: Lead, parts: Sequence[Part], notices: Sequence[str]) -> dict[str, Any]:
    taken: set[str] = set()
    shown = [_shown(part, _anchor(part.title, taken)) for part in parts]
    script, style = browser_libraries.data_tables() if any(one["is_grid"] for one in shown) else ("", "")
    return {
        "title": title,
        "lead": lead,
        "notices": [notice for notice in notices if notice],
        "parts": shown,
        "contents": [one for one in shown if one["title"]] if len(shown) > 3 else [],
        "data_tables_script": script,
        "data_tables_style": style,
        "vega": browser_libraries.vega() if any(one["kind"] == "chart" for one in shown) else "",
    }


def _anchor(title: str, taken: set[str]) -> str:
    """Return a fragment identifier of a heading that no other part of the page has."""
    base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
    number, anchor = 1, base
    while anchor in taken:
        number += 1
        anchor = f"{base}-{number}"
    taken.add(anchor)
    return anchor


def _shown(part: Part, anchor: str) -> dict[str, Any]:
    """Return what the template needs of a part."""
    common = {"title": part.title, "anchor": anchor}
    if isinstance(part, Block):
        return {**common, "kind": "block", "html": part.html, "is_grid": False}
    if isinstance(part, Chart):
        rows = [{name: _plain(value) for name, value in row.items()} for row in part.rows]
        island = {"spec": specification(part.drawing), "rows": rows}
        return {
            **common,
            "kind": "chart",
            "alt": part.alt,
            "caption": part.caption,
            "count": len(rows),
            "file": part.file or anchor,
            "island": browser_libraries.packed_json(island),
            "is_grid": True,  # its table, when somebody opens it
        }
    return {**common, "kind": "table", "note": part.note, "file": part.file or anchor, "is_grid": True, **_table(part)}


def _table(table: Table) -> dict[str, Any]:
    columns = [column if isinstance(column, Column) else Column(column) for column in table.columns]
    numbers = [is_number_column(column, [row[place] for row in table.rows]) for place, column in enumerate(columns)]
    heads = [{"title": column.title, "is_number": number} for column, number in zip(columns, numbers, strict=True)]
    is_static = len(table.rows) <= _MAX_STATIC_ROWS
    rows = [
        [
            {
                "value": cell,
                "is_picture": isinstance(cell, Picture),
                "is_number": number,
                "order": sort_key(cell) if number else None,
            }
            for cell, number in zip(row, numbers, strict=True)
        ]
        for row in (table.rows if is_static else ())
    ]
    island = "" if is_static else browser_libraries.packed_json([[_text(cell) for cell in row] for row in table.rows])
    return {"columns": heads, "rows": rows, "count": len(table.rows), "island": island}


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it: a number that is none becomes null."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)
