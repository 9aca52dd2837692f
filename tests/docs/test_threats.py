"""The threat list of docs/threats.md: its tests exist, and what no other test shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from deepfakemnist.liveness.simulator import server

ROOT = Path(__file__).parents[2]


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs/threats.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(tree)), (file, name)


def test_every_threat_has_a_test() -> None:
    threats, limits, _ = (ROOT / "docs/threats.md").read_text(encoding="utf-8").partition("\n## Limits of this\n")
    assert limits
    rows = [line for line in threats.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 14 and all("::test_" in row for row in rows)


def test_the_simulated_vendors_listen_on_the_loopback_address_only() -> None:
    assert server.HOST == "127.0.0.1"
    assert re.findall(r"make_server\((\w+)", Path(server.__file__).read_text(encoding="utf-8")) == ["HOST"]


def test_every_locked_package_has_hashes() -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    packages = [entry for entry in entries if re.match(r"[A-Za-z0-9]", entry)]
    assert len(packages) > 100
    assert [entry.split()[0] for entry in packages if "==" not in entry or "--hash=sha256:" not in entry] == []
