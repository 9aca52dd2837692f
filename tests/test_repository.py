"""Repository checks: environments match the lock, supported platforms, directives of every rule."""

import platform
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from deepfakemnist import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED = [
    Requirement(line.rstrip(" \\"))
    for line in re.findall(r"^[a-z0-9].*", (ROOT / "requirements.lock").read_text(), flags=re.M)
]
LOCK = {one.name: str(one.specifier).removeprefix("==") for one in LOCKED}
#: Environment-marker values of every supported platform.
PLATFORMS = {
    "linux-x86_64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "linux-aarch64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "macos-arm64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}
PYTHONS = ("3.11", "3.12", "3.13")


def installed(name: str, python: str) -> set[str]:
    """Return the locked packages that a platform of PLATFORMS installs on a Python version."""
    markers = {**PLATFORMS[name], "python_version": python, "python_full_version": f"{python}.0"}
    return {one.name for one in LOCKED if one.marker is None or one.marker.evaluate(markers)}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.name)
def test_conda_environments_pin_the_locked_versions(path):
    pins = next(part["pip"] for part in yaml.safe_load(path.read_text())["dependencies"] if isinstance(part, dict))
    for pin in pins:
        name, version = pin.split("==")
        assert LOCK[name] == version, f"{path.name} pins {pin}, requirements.lock has {LOCK[name]}"


def test_lock_names_no_host():
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", "\n".join(
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.lstrip().startswith("#")
    ))  # fmt: skip


def test_lock_has_one_version_of_every_requirement_in_pyproject():
    assert len(LOCK) == len(LOCKED)
    project = PYPROJECT["project"]
    for wanted in map(Requirement, project["dependencies"] + project["optional-dependencies"]["dev"]):
        assert wanted.specifier.contains(LOCK[wanted.name]), f"{wanted}, requirements.lock has {LOCK[wanted.name]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_installs_cuda_on_linux_only_and_every_requirement_on_every_platform(python):
    project = PYPROJECT["project"]
    wanted = {Requirement(one).name for one in project["dependencies"] + project["optional-dependencies"]["dev"]}
    on = {name: installed(name, python) for name in PLATFORMS}
    cuda = {name for name in LOCK if re.match("nvidia-|cuda-|triton$", name)}
    assert {"nvidia-cublas", "cuda-bindings", "triton"} < cuda
    assert cuda < on["linux-x86_64"] and cuda < on["linux-aarch64"] and not cuda & on["macos-arm64"]
    for name in PLATFORMS:
        assert wanted <= on[name], name


def supported(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, release: str, python: str = "3.11") -> str:
    """Run envs/supported.py as if on another machine; return its error message, "" where it accepts."""
    libc = ("", "") if system == "Darwin" else release.partition(" ")[::2]
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(platform, "mac_ver", lambda: (release if system == "Darwin" else "", ("", "", ""), machine))
    monkeypatch.setattr(platform, "python_version", lambda: f"{python}.1")
    monkeypatch.setattr(sys, "version_info", (*map(int, python.split(".")), 1, "final", 0))
    try:
        runpy.run_path(str(ROOT / "envs/supported.py"), run_name="__main__")
    except SystemExit as end:
        return str(end)
    return ""


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("system", "machine", "release"),
    [
        ("Linux", "x86_64", "glibc 2.28"),
        ("Linux", "aarch64", "glibc 2.36"),
        ("Darwin", "arm64", "14.0"),
        ("Darwin", "arm64", "26.1.2"),
    ],
)
def test_supported_platforms_are_accepted(monkeypatch, system, machine, release, python):
    assert supported(monkeypatch, system, machine, release, python) == ""


@pytest.mark.parametrize(
    ("system", "machine", "release", "python", "found"),
    [
        ("Linux", "riscv64", "glibc 2.41", "3.11", "CPython 3.11.1 on Linux glibc 2.41 (riscv64)"),
        ("Linux", "x86_64", "glibc 2.17", "3.11", "CPython 3.11.1 on Linux glibc 2.17 (x86_64)"),
        ("Linux", "x86_64", "musl 1.2.5", "3.13", "CPython 3.13.1 on Linux musl 1.2.5 (x86_64)"),
        ("Linux", "x86_64", "", "3.11", "CPython 3.11.1 on Linux (x86_64)"),
        ("Windows", "AMD64", "", "3.11", "CPython 3.11.1 on Windows (AMD64)"),
        ("Linux", "x86_64", "glibc 2.36", "3.10", "CPython 3.10.1 on Linux glibc 2.36 (x86_64)"),
        ("Linux", "x86_64", "glibc 2.36", "3.14", "CPython 3.14.1 on Linux glibc 2.36 (x86_64)"),
        ("Darwin", "x86_64", "15.0", "3.12", "CPython 3.12.1 on macOS 15.0 (x86_64)"),
        ("Darwin", "arm64", "13.7", "3.12", "CPython 3.12.1 on macOS 13.7 (arm64)"),
    ],
)
def test_other_platforms_are_refused(monkeypatch, system, machine, release, python, found):
    message = supported(monkeypatch, system, machine, release, python)
    assert message == (
        "DeepFakeMnist+ supports CPython 3.11, 3.12 and 3.13 on Linux with glibc 2.28 or newer (x86_64 or aarch64) and "
        f"on macOS 14 or newer (arm64); this is {found}."
    )


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_setup_stops_on_an_unsupported_platform_before_it_installs(tmp_path):
    elsewhere = "import platform, runpy, sys; platform.machine = lambda: 'riscv64'"
    code = f"{elsewhere}; runpy.run_path(sys.argv[1], None, '__main__')"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n')
    python.chmod(0o755)
    words = ["make", "setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("DeepFakeMnist+ supports CPython 3.11")
    assert not (tmp_path / "venv").exists()


def test_requires_python_and_the_linters_match_the_supported_versions():
    wanted = SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert [minor for minor in range(20) if wanted.contains(f"3.{minor}.0")] == [11, 12, 13]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == "3.11"


def test_every_rule_with_a_script_has_log_benchmark_conda_memory_and_runtime():
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for block in re.split(r"\n(?=rule )", path.read_text())[1:]:
            if "script:" in block:
                for directive in ("log:", "benchmark:", "conda:", "mem_mb=", "runtime=", '"""'):
                    assert directive in block, f"{path.name}: {block.splitlines()[0]} lacks {directive}"


def test_scripts_have_at_most_40_lines():
    for path in (ROOT / "workflow/scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path.name


def test_the_torch_environment_has_all_dependencies_and_the_media_environment_a_subset():
    project = PYPROJECT["project"]["dependencies"]
    wanted = {re.match(r"[a-z0-9_.-]+", name)[0] for name in project if not name.startswith("snakemake")}
    pinned = {}
    for name in ("torch", "media"):
        parts = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
        pinned[name] = {pin.split("==")[0] for part in parts if isinstance(part, dict) for pin in part["pip"]}
    assert pinned["torch"] == wanted
    assert pinned["media"] < wanted


def test_version_is_one_in_code_citation_and_changelog():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    heading = re.search(r"^## \[(\d.*?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert heading is not None
    assert heading.groups() == (citation["version"], citation["date-released"])
    assert __version__ == citation["version"]
    assert (citation["cff-version"], citation["license"]) == ("1.2.0", PYPROJECT["project"]["license"])


def test_links_between_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "config").glob("*.md")]
    pages += [*(ROOT / "resources").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?://)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
