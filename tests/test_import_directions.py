"""Packages of the library import each other in one direction; docs/design.md shows the picture of it."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "deepfakemnist"
DRAWN = runpy.run_path(str(ROOT / "docs" / "package_imports.py"))
package_imports, circles = DRAWN["package_imports"], DRAWN["circles"]

#: From the bottom up: a package imports packages of the lines below its own only, and none of its own line.
LAYERS = [
    ["errors", "ids", "code_digest", "machine_errors", "multiple_tests"],
    ["config", "devices", "schedulers"],
    ["tables"],
    ["media", "planning", "detectors"],
    ["faces", "sources"],
    ["animation_quality", "animate", "dataset", "actors"],
    ["animate/fomm", "animate/liveportrait", "animate/mesh", "liveness", "evaluation"],
    ["animate/tpsmm"],
    ["animate/animators", "animate/training", "liveness/simulator", "training", "reenactment"],
    ["report", "workflow", "human_study"],
    ["cli"],
]
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
#: Stages meet in rules and scripts only: package → packages that it must not import, although they lie below it.
APART = {
    "animate": {"liveness", "dataset", "training", "evaluation", "detectors", "actors"},
    "liveness": {"animate", "dataset", "training", "actors"},
    "detectors": {"media", "faces", "tables"},
    "actors": {"animate", "liveness", "dataset"},
}


def faults(graph: dict[str, dict[str, set[str]]]) -> list[str]:
    """Return what breaks the directions, with the modules that do it."""
    found = [f"circle of {', '.join(circle)}" for circle in circles(graph)]
    for package, imports in graph.items():
        for other, modules in imports.items():
            level, below = LEVEL.get(package), LEVEL.get(other)
            if level is None or below is None:
                found.append(f"{package if level is None else other} stands in no layer: add it to LAYERS")
            elif below >= level or other.split("/")[0] in APART.get(package.split("/")[0], ()):
                found.append(f"{package} must not import {other}: {', '.join(sorted(modules))}")
    return found


def test_imports_go_one_way() -> None:
    assert faults(package_imports()) == []


def test_every_layer_exists() -> None:
    assert set(LEVEL) == set(package_imports())


def test_the_picture_shows_the_code_of_today() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "design_picture.py"))
    text = drawn["draw"](package_imports())
    assert drawn["PICTURE"].read_text(encoding="utf-8") == text, "run python docs/design_picture.py"


@pytest.mark.slow
def test_every_package_is_described() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    folders = {package.split("/")[0] for package in package_imports() if (SOURCE / package).is_dir()}
    assert {folder for folder in folders if f"| `{folder}` |" not in text} == set()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(SOURCE, tmp_path / "deepfakemnist", ignore=shutil.ignore_patterns("data", "__pycache__"))


def plant(source: Path, module: str, line: str) -> list[str]:
    with (source / module).open("a") as file:
        file.write(f"\n{line}\n")
    return faults(package_imports(source))


@pytest.mark.slow
def test_a_planted_circle_is_found(copy: Path) -> None:
    found = plant(copy, "media/frames.py", "from deepfakemnist.faces.detect import FaceDetector")
    assert found == ["circle of faces, media", "media must not import faces: media/frames.py"]


@pytest.mark.slow
def test_an_import_inside_a_function_counts(copy: Path) -> None:
    found = plant(copy, "tables/tsv.py", "def f():\n    import deepfakemnist.workflow.script")
    assert found[-1] == "tables must not import workflow: tables/tsv.py"
    assert found[0].startswith("circle of ") and "tables" in found[0] and "workflow" in found[0]


@pytest.mark.slow
def test_one_stage_knows_no_other(copy: Path) -> None:
    found = plant(copy, "animate/training/loop.py", "from deepfakemnist.liveness import stages")
    assert found == ["animate/training must not import liveness: animate/training/loop.py"]


def test_a_new_package_needs_a_layer(copy: Path) -> None:
    (copy / "shoes").mkdir()
    (copy / "shoes/laces.py").write_text("from deepfakemnist.ids import check_id\n")
    assert faults(package_imports(copy)) == ["shoes stands in no layer: add it to LAYERS"]
