"""How-to pages of docs/: their code works in a copy of the package, and the messages they quote are the real ones.

A fenced block whose first line names a file is that file; in a diff, the lines between two @@ must be in the file once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHECKS = Path(__file__).parent / "checks"
#: Page → module of checks/.
PAGES = {
    "adding_an_animator": "animator",
    "adding_a_detector": "detector",
    "adding_a_liveness_provider": "liveness_provider",
    "adding_a_quality": "quality",
    "adding_a_protocol": "protocol",
}
FENCE = re.compile(r"^```(\w+)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block whose first line is the name of a file."""

    language: str
    file: str
    text: str

    @property
    def hunks(self) -> Iterator[tuple[str, str]]:
        """Yield the lines of each change in a diff, before and after."""
        for hunk in re.split(r"^@@\n", self.text, flags=re.MULTILINE)[1:]:
            lines = [(line[:1] or " ", line[1:]) for line in hunk.splitlines()]
            yield tuple("".join(f"{text}\n" for sign, text in lines if sign in f" {kept}") for kept in "-+")


def page_text(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page_text(page))]


@cache
def words_of_the_code() -> frozenset[str]:
    """All identifiers of the repository's code and configs, without the tests of the pages."""
    paths = [path for folder in ("src", "tests", "workflow", "config") for path in (ROOT / folder).rglob("*")]
    code = (path for path in paths if path.suffix in {".py", ".smk", ".yaml"} and "docs" not in path.parts[-3:])
    return frozenset(word for path in code for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))


def write_block(block: Block, folder: Path) -> None:
    """Write a new file, or apply a diff to an existing one."""
    path = folder / block.file
    if block.language != "diff":
        assert not path.exists(), f"{block.file} exists; show a diff"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    for before, after in block.hunks:
        assert f"\n{text}".count(f"\n{before}") == 1, f"not exactly once in {block.file}:\n{before}"
        text = f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:]
    path.write_text(text, encoding="utf-8")


def install(package: Path, folder: Path) -> None:
    """Install a package into a folder, as a user's pip does, without a download."""
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, *words, "--target", str(folder), str(package)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def copy(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Package and config with the additions of the page, and its check."""
    folder = tmp_path_factory.mktemp(page)
    for name in ("src", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for block in blocks_of(page):
        write_block(block, folder)
    shutil.copy(CHECKS / f"{PAGES[page]}.py", folder / "check.py")
    for block in blocks_of(page):
        if Path(block.file).name == "pyproject.toml":
            install(folder / Path(block.file).parent, folder / "installed")
    return folder


@pytest.mark.slow
def test_the_code_of_a_page_works_in_a_copy_of_the_package(page: str, copy: Path) -> None:
    """The tests on the page, and the check of it, which uses the public functions."""
    files = [copy / block.file for block in blocks_of(page) if "tests/" in block.file]
    files.append(copy / "check.py")
    wanted = sum(len(re.findall(r"^def test_", path.read_text(encoding="utf-8"), re.MULTILINE)) for path in files)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy / "installed")]),
        "HOWTO_PAGE": str(DOCS / f"{page}.md"),
        "OMP_NUM_THREADS": "1",
    }
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(copy), *map(str, files)]
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    counts = [int(number) for number in re.findall(r"(\d+) (?:passed|skipped)", done.stdout.splitlines()[-1])]
    assert sum(counts) == wanted, done.stdout[-500:]


def test_the_code_of_a_page_passes_the_linters(page: str, copy: Path) -> None:
    files = sorted({block.file for block in blocks_of(page) if block.file.endswith(".py")})
    for words in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        if files:
            command = [sys.executable, "-m", "ruff", *words, "--no-cache", *files]
            done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_names_files_that_exist(page: str) -> None:
    text = page_text(page)
    made = {block.file for block in blocks_of(page)}
    named = set(re.findall(r"`((?:src|tests|workflow|config|docs)/[\w./-]+)`", text))
    assert named
    assert [name for name in sorted(named) if name not in made and not (ROOT / name).exists()] == []
    linked = re.findall(r"\]\(([\w./]+)\)", text)
    assert [name for name in linked if not (DOCS / name).exists()] == []


def test_a_page_names_functions_and_keys_that_exist(page: str) -> None:
    text = page_text(page)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(\w*[a-z]_\w+|_\w+|[A-Z]\w+[a-z]\w*)(?:\([\w, ]*\))?`", prose))
    assert named
    words = words_of_the_code() | set(re.findall(r"\w+", "".join(block.text for block in blocks_of(page))))
    assert sorted(named - words) == []


def test_the_index_lists_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    linked = set(re.findall(r"\]\(([\w./]+)\)", index))
    assert pages <= linked
    assert [name for name in sorted(linked) if not (DOCS / name).exists()] == []
