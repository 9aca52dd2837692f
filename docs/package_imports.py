"""Packages of ``src/deepfakemnist`` and what each imports, read from the syntax trees; nothing is imported.

    python docs/package_imports.py

prints one line per package. ``docs/design_picture.py`` draws them, ``tests/test_import_directions.py`` checks them.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

NAME = "deepfakemnist"
SOURCE = Path(__file__).parents[1] / "src" / NAME


def package_imports(source: Path = SOURCE) -> dict[str, dict[str, set[str]]]:
    """Return package → imported package → the modules that import it.

    A package is a folder, named by its path below ``source`` (``animate/fomm``); each module next to the folders counts
    as a package of its own (``errors``). Imports inside functions count too.
    """
    files = sorted(source.rglob("*.py"))
    graph: dict[str, dict[str, set[str]]] = {_package(path, source): defaultdict(set) for path in files}
    del graph["__init__"]
    for path in files:
        package = _package(path, source)
        for target in _imported_files(path, source):
            other = _package(target, source)
            if other not in (package, "__init__"):
                graph[package][other].add(path.relative_to(source).as_posix())
    return {package: dict(imports) for package, imports in graph.items()}


def circles(graph: dict[str, dict[str, set[str]]]) -> list[list[str]]:
    """Return groups of packages that reach each other, smallest first; a graph without a circle has none."""
    reached = {package: _reachable(graph, package) for package in graph}
    groups = {tuple(sorted({other for other in reached[one] if one in reached[other]})) for one in graph}
    return sorted((list(group) for group in groups if group), key=len)


def _reachable(graph: dict[str, dict[str, set[str]]], start: str) -> set[str]:
    found, waiting = set[str](), [*graph[start]]
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting.extend(graph[package])
    return found


def _package(path: Path, source: Path) -> str:
    folder = path.relative_to(source).parent
    # The config is read as a whole, whatever folders its models lie in.
    if folder.parts[:1] == ("config",):
        return "config"
    return folder.as_posix() if folder.parts else path.stem


def _imported_files(path: Path, source: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A name may be a module of the package that it is imported from.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == NAME:
                yield _file(rest, source)


def _file(parts: list[str], source: Path) -> Path:
    for end in range(len(parts), 0, -1):
        base = source.joinpath(*parts[:end])
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return source / "__init__.py"


if __name__ == "__main__":
    for package, imports in package_imports().items():
        print(f"{package}: {', '.join(sorted(imports))}")
    for circle in circles(package_imports()):
        print("a circle: " + ", ".join(circle))
