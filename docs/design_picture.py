"""Drawing of the package imports: docs/design.svg, the picture of docs/design.md, from the code itself.

    python docs/design_picture.py

``tests/test_import_directions.py`` fails when the committed picture differs from the code. Arrows that follow from
others (faces → media → …) are left out, and so are those to the foundation, which every package may import.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from package_imports import package_imports

PICTURE = Path(__file__).with_name("design.svg")
#: Imported by nearly every package: drawn as one band, without arrows.
FOUNDATION = ("errors", "machine_errors", "ids", "code_digest", "config", "tables", "devices")
_WIDTH, _BOX, _HEIGHT, _GAP, _STEP, _MARGIN = 960, 128, 34, 18, 84, 24
_FONT = 'font-family="Helvetica, Arial, sans-serif" font-size="13"'
_HUES = ("#e8eef7", "#e6f2ea", "#f7efe2", "#f3e8f1", "#eef0e2", "#e9e9f5", "#f6e8e4")


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(draw(package_imports()), encoding="utf-8")
    print(PICTURE)


def draw(graph: dict[str, dict[str, set[str]]]) -> str:
    """Return the picture of a graph without circles, package → imported packages, as SVG."""
    imports = {name: set(others) - set(FOUNDATION) for name, others in graph.items() if name not in FOUNDATION}
    levels = _levels(imports)
    rows = [sorted(name for name in imports if levels[name] == level) for level in range(max(levels.values()) + 1)]
    rows = _untangle(rows, imports)
    height = 2 * _MARGIN + _STEP * len(rows) + _HEIGHT
    place: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        left = (_WIDTH - len(row) * _BOX - (len(row) - 1) * _GAP) / 2
        for column, name in enumerate(row):
            place[name] = left + column * (_BOX + _GAP), _MARGIN + _STEP * (len(rows) - 1 - level)
    arrows = [_arrow(place[name], place[other]) for name in imports for other in sorted(_reduced(name, imports))]
    boxes = [_box(name, *place[name], _BOX, _HUES[levels[name] % len(_HUES)]) for name in imports]
    band = _box(", ".join(FOUNDATION), _MARGIN, height - _MARGIN - _HEIGHT, _WIDTH - 2 * _MARGIN, "#eeeeee")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" {_FONT}>',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
            f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
            *arrows,
            *boxes,
            band,
            "</svg>\n",
        ]
    )


def _levels(imports: dict[str, set[str]]) -> dict[str, int]:
    """Return a level for every package: above all it imports, and right below those that import it."""
    levels: dict[str, int] = {}
    while len(levels) < len(imports):
        for name, others in imports.items():
            if name not in levels and all(other in levels for other in others):
                levels[name] = 1 + max((levels[other] for other in others), default=-1)
    for name in sorted(imports, key=lambda name: -levels[name]):
        importers = [levels[other] for other, theirs in imports.items() if name in theirs]
        levels[name] = min(importers, default=levels[name] + 1) - 1
    return levels


def _untangle(rows: list[list[str]], imports: dict[str, set[str]]) -> list[list[str]]:
    """Order every row by the mean place of what its packages import, which spares crossings."""
    centre: dict[str, float] = {}
    ordered = []
    for row in rows:
        means = {name: [centre[other] for other in imports[name]] for name in row}
        row = sorted(row, key=lambda name: (sum(means[name]) / max(len(means[name]), 1), name))
        ordered.append(row)
        centre |= {name: column - (len(row) - 1) / 2 for column, name in enumerate(row)}
    return ordered


def _reduced(name: str, imports: dict[str, set[str]]) -> set[str]:
    """Return what a package imports and no other import of it reaches."""

    def reach(start: str) -> set[str]:
        return {start}.union(*(reach(other) for other in imports[start]))

    return {one for one in imports[name] if not any(one in reach(other) for other in imports[name] - {one})}


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    x1, x2 = x1 + _BOX / 2, x2 + _BOX / 2
    bend = (y2 - y1 - _HEIGHT) / 2
    curve = f"M{x1:g},{y1 + _HEIGHT:g} C{x1:g},{y1 + _HEIGHT + bend:g} {x2:g},{y2 - bend:g} {x2:g},{y2 - 2:g}"
    return f'<path d="{curve}" fill="none" stroke="#777" stroke-width="1.1" marker-end="url(#head)"/>'


def _box(text: str, x: float, y: float, width: float, fill: str) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{_HEIGHT}" rx="5" fill="{fill}" stroke="#555"/>'
        f'<text x="{x + width / 2:g}" y="{y + _HEIGHT / 2 + 4.5:g}" text-anchor="middle">{text}</text>'
    )


if __name__ == "__main__":
    main()
