"""Classification of reasons: complete, and used by the next run of a job."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import deepfakemnist
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.reasons import FINAL, PASSING, is_passing
from deepfakemnist.tables.shards import run_shard

SOURCE = Path(deepfakemnist.__file__).parent
SCHEMA = pa.schema([(name, pa.string()) for name in ("video_id", "status", "reason", "detail")])
#: Names that a module gives to reasons before it raises them.
_REASON_NAMES = {"reason", "NO_DRIVER", "SOURCE_UNUSABLE"}


def reasons_in(tree: ast.AST) -> Iterator[str]:
    """Yield the reasons that a module raises or writes, wherever the literal stands."""

    def literals(node: ast.AST) -> Iterator[str]:
        # The code of `x if y else z` is x and z; a comparison in y is no reason.
        parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
        yield from (part.value for part in parts if isinstance(part, ast.Constant) and part.value)

    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & {"Failed", "Rejected"}:
            calls = (one for one in ast.walk(node) if isinstance(one, ast.Call) and one.args)
            for call in (one for one in calls if ast.unparse(one.func) == "super().__init__"):
                yield from literals(call.args[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("Failed", "Rejected"):
            yield from literals(node.args[0])
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names = [one.id for one in ast.walk(target) if isinstance(one, ast.Name)]
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] * len(names)
                for name, value in zip(names, values, strict=False):
                    if name in _REASON_NAMES:
                        yield from literals(value)
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            if "status" in keys and "reason" in keys:
                yield from filter(None, literals(node.values[keys.index("reason")]))


#: Reasons that come from a table of limits or turns, by module.
FROM_TABLES = {
    "faces/quality.py": {
        "box_guessed", "several_faces", "uncertain_face", "turns_too_far", "blurred", "still_face", "too_dark",
        "too_bright",
    },
    "faces/upright.py": {"upside_down", "sideways"},
}  # fmt: skip


def test_every_reason_of_the_code_is_passing_or_final() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        module = str(path.relative_to(SOURCE))
        text = path.read_text(encoding="utf-8")
        assert all(f'"{reason}"' in text for reason in FROM_TABLES.get(module, ())), module
        # A vendor's simulator answers with reasons of its own.
        if "simulator" not in path.parts:
            for reason in {*reasons_in(ast.parse(text)), *FROM_TABLES.get(module, ())}:
                found.setdefault(reason, []).append(module)
    assert len(found) > 60, "the search finds them"
    assert {reason: modules for reason, modules in found.items() if reason not in FINAL | PASSING.keys()} == {}
    assert (FINAL | PASSING.keys()) - found.keys() == set(), "nothing raises these any more"


def test_no_reason_is_both() -> None:
    assert FINAL & PASSING.keys() == set()
    assert is_passing("no_answer") and not is_passing("truncated") and is_passing("a_reason_of_ones_own")


@pytest.mark.parametrize("reason", sorted(PASSING))
@pytest.mark.parametrize("kind", (Failed, Rejected))
def test_a_passing_reason_is_never_taken_over(tmp_path: Path, reason: str, kind: type[Failed | Rejected]) -> None:
    cause = True

    def work(row: dict) -> dict:
        if cause:
            raise kind(reason)
        return {}

    def run(names: str) -> list[str]:
        table = tmp_path / "shard-0.parquet"
        table.unlink(missing_ok=True)
        run_shard([{"video_id": name} for name in names], table, SCHEMA, work, code="c0de")
        return [row["reason"] for row in read_rows(table)]

    assert run("ab") == [reason] * 2
    cause = False
    assert run("ab") == ["", ""]
