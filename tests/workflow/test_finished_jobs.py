"""What decides whether a job takes over what an earlier one has finished."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

from deepfakemnist.workflow.finished_jobs import finished_once


def job(folder: Path, **params: object) -> SimpleNamespace:
    """Return a job as its script sees it: an input, an output, params."""
    return SimpleNamespace(
        rule="train",
        input=InputFiles(fromdict={"frames": str(folder / "frames.parquet")}),
        output=OutputFiles(fromdict={"checkpoint": str(folder / "made" / "checkpoint")}),
        params=Params(fromdict={"settings": {"epochs": 3}, "code": "c0de", **params}),
        wildcards=Wildcards(fromdict={"seed": "0"}),
    )


def run(folder: Path, **params: object) -> bool:
    """Run a job whose output Snakemake has deleted; return whether it took it over."""
    one = job(folder, **params)
    (folder / "made/checkpoint").unlink(missing_ok=True)
    with finished_once(one, str(folder / "script.py")) as results:
        if results.take_over():
            return True
        (folder / "made/checkpoint").write_text("weights")
        results.keep()
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "frames.parquet").write_text("frames")
    (tmp_path / "script.py").write_text("train()")
    assert not run(tmp_path)
    return tmp_path


def test_a_finished_job_is_taken_over_whatever_the_time_of_its_inputs(folder: Path) -> None:
    (folder / "frames.parquet").write_text("frames")
    assert run(folder) and (folder / "made/checkpoint").read_text() == "weights"


def test_other_inputs_settings_code_and_scripts_are_not(folder: Path) -> None:
    assert not run(folder, settings={"epochs": 4})
    assert not run(folder, settings={"epochs": 4}, code="c1de")
    (folder / "frames.parquet").write_text("other frames")
    assert not run(folder)
    (folder / "script.py").write_text("train(harder=True)")
    assert not run(folder)
    assert run(folder)
