"""Promises about the repository itself: environments agree with the lock, every rule says what it needs."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LOCK = dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.M))


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.name)
def test_conda_environments_agree_with_the_lock(path):
    pins = next(part["pip"] for part in yaml.safe_load(path.read_text())["dependencies"] if isinstance(part, dict))
    for pin in pins:
        name, version = pin.split("==")
        assert LOCK[name] == version, f"{path.name} pins {pin}, requirements.lock has {LOCK[name]}"


def test_lock_names_no_host():
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", "\n".join(
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.lstrip().startswith("#")
    ))  # fmt: skip


def test_every_rule_that_runs_a_script_has_log_benchmark_conda_memory_and_time():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for block in re.split(r"\n(?=rule )", path.read_text())[1:]:
            if "script:" in block:
                for directive in ("log:", "benchmark:", "conda:", "mem_mb=", "runtime=", '"""'):
                    assert directive in block, f"{path.name}: {block.splitlines()[0]} lacks {directive}"


def test_scripts_are_thin():
    for path in (ROOT / "workflow/scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path.name


def test_the_environment_of_networks_has_every_dependency_and_that_of_media_no_others():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {re.match(r"[a-z0-9_.-]+", name)[0] for name in project if not name.startswith("snakemake")}
    pinned = {}
    for name in ("torch", "media"):
        parts = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
        pinned[name] = {pin.split("==")[0] for part in parts if isinstance(part, dict) for pin in part["pip"]}
    assert pinned["torch"] == wanted
    assert pinned["media"] < wanted
