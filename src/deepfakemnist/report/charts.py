"""One style for all charts: colours that colour-blind readers tell apart, and what Vega is told about the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

#: Data of every chart: the rows of its :class:`deepfakemnist.report.parts.Chart`.
ROWS = alt.NamedData(name="rows")

#: Okabe and Ito's colours, without black, which dark pages would hide, in an order that grey print keeps apart too.
#: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A400")
#: Real and fake, in every chart that tells them apart.
REAL, FAKE = "#0072B2", "#D55E00"
#: Guides: chance levels, diagonals, thresholds.
GUIDE = "#888888"

# No rounded bars: Vega-Lite loses the x of stacked ones with bins.
_THEME: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "mark": {"color": COLOURS[0]},
    "range": {"category": list(COLOURS)},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 240},
    "axisXDiscrete": {"labelAngle": -30},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 300},
    "header": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    "line": {"strokeWidth": 2},
}  # fmt: skip


def percent_colour(field: str, title: str) -> alt.Color:
    """Return the colour scale of heat maps in percent: 0 to 100, white at chance (50), the same on every page."""
    scale = alt.Scale(domain=[0, 50, 100], range=["#B2182B", "#F7F7F7", "#2166AC"], type="linear")
    return alt.Color(f"{field}:Q", scale=scale, title=title, legend=alt.Legend(gradientLength=120))


def readable_on_percent_colour(field: str) -> Any:
    """Return the colour of numbers in cells of :func:`percent_colour`: dark on light cells, white on dark ones."""
    is_light = (alt.datum[field] > 20) & (alt.datum[field] < 82)
    return alt.condition(is_light, alt.value("#1a1a1a"), alt.value("#ffffff"))


def specification(drawing: alt.TopLevelMixin) -> dict[str, Any]:
    """Return the Vega-Lite specification of a drawing in the report's style; its rows come from the page."""
    spec: dict[str, Any] = drawing.to_dict()
    spec["config"] = _THEME
    if not {"facet", "hconcat", "vconcat", "concat", "repeat"} & spec.keys():
        spec.setdefault("width", "container")
        spec.setdefault("autosize", {"type": "fit-x", "contains": "padding"})
    return spec


def choice(name: str, options: Sequence[str], label: str) -> alt.Parameter:
    """Return a menu from which a reader chooses the value of a column that is drawn, the first one at first.

    The drawing needs ``.add_params(choice)`` and ``.transform_filter(alt.datum[column] == choice)``.

    Args:
        name: of the parameter, a word.
        options: values of the column, at least one.
        label: what stands before the menu.
    """
    return alt.param(name=name, value=options[0], bind=alt.binding_select(options=list(options), name=f"{label} "))


def tooltips(rows: Sequence[Mapping[str, Any]]) -> list[alt.Tooltip]:
    """Return what is shown of a mark under the pointer: every column with a value in some row."""
    filled = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return [
        alt.Tooltip(field=name, type="quantitative" if isinstance(_known(rows, name), int | float) else "nominal")
        for name in filled
    ]


def _known(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    return next(row[name] for row in rows if row[name] is not None)
