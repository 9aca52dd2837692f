"""Habits of the code that no linter knows: first lines that can be searched for, literals written out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path
    for folder in ("src", "benchmarks", "docs", "workflow/scripts", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
#: Words that begin a question or a clause; a searcher of the field types a noun phrase.
CLAUSES = {
    "what", "which", "how", "who", "where", "why", "when", "whether", "that", "if", "does", "is", "are", "from", "to",
    "asking",
}  # fmt: skip


def literal_packs(tree: ast.Module) -> Iterator[int]:
    """Yield the lines on which a literal is unpacked where its items could stand: ``f(*(a, b))``, ``{**{"a": 1}}``."""
    for node in ast.walk(tree):
        items: list[ast.expr] = []
        if isinstance(node, ast.Call):
            items = node.args
            yield from (word.value.lineno for word in node.keywords if word.arg is None and _could_be_names(word.value))
        elif isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            items = node.elts
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (value.lineno for key, value in pairs if key is None and isinstance(value, ast.Dict))
        for item in items:
            if isinstance(item, ast.Starred) and isinstance(item.value, (ast.Tuple, ast.List, ast.Set)):
                yield item.lineno


def _could_be_names(value: ast.expr) -> bool:
    keys = value.keys if isinstance(value, ast.Dict) else [None]
    return all(isinstance(key, ast.Constant) and str(key.value).isidentifier() for key in keys)


def named(paths: list[Path]) -> dict[str, Path]:
    return {path.relative_to(ROOT).as_posix(): path for path in paths}


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("f(*(a, b), c)", [1]),
        ("x = {*('a', 'b'), 'c'}", [1]),
        ("x = {\n  **{'a': 1},\n  'b': 2}", [2]),
        ("f(**{'a': 1, 'b': 2})", [1]),
        ("f(*names, **{'a-b': 1}, **row)", []),
        ("x = {**row, 'b': 2}", []),
        ("f(*(name for name in names))", []),
    ],
)
def test_packs_are_found(code: str, lines: list[int]) -> None:
    assert list(literal_packs(ast.parse(code))) == lines


def test_literals_are_written_out() -> None:
    found = [
        f"{name}:{line}"
        for name, path in named(MODULES).items()
        for line in literal_packs(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_a_module_begins_with_a_noun_phrase() -> None:
    found = {}
    for name, path in named(MODULES).items():
        if name.startswith(("tests/", "workflow/")):
            continue
        first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        word = re.split(r"[\s:,]", first)[0].lower()
        if not first or word in CLAUSES or first.endswith("?") or not first.endswith((".", ":")):
            found[name] = first
    assert found == {}


def test_tests_mirror_the_library() -> None:
    library, tests = ROOT / "src/deepfakemnist", ROOT / "tests"
    packages = {path.parent.relative_to(library).parts[0] for path in library.glob("*/*.py")}
    folders = {path.parent.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")} - {"."}
    assert {folder for folder in folders if not (library / folder).is_dir()} == {"benchmarks", "docs", "fuzz"}
    assert packages - {folder.split("/")[0] for folder in folders} == set()
