"""A whole run on a real SLURM whose node has no internet: pixels of a local run, jobs in the right partitions."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from one_node_slurm import NoSlurm, OneNodeSlurm, missing_programs
from simulated_vendors import ENVIRONMENT, vendors
from slurm_project import QUOTA, TARGETS, FirstRefused, SlurmProject
from weights_hub import weights_hub

from deepfakemnist.tables.files import read_rows

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"SLURM {missing_programs()}"),
]


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Base URL of a simulated vendor that refuses the first round; beside it, a hub with weights."""
    with vendors(FirstRefused()) as (_, address), weights_hub([]) as hub:
        for name, value in {**ENVIRONMENT, **hub, "HF_HOME": str(tmp_path / "hub")}.items():
            monkeypatch.setenv(name, value)
        yield address


@contextmanager
def started(folder: Path) -> Iterator[OneNodeSlurm]:
    """Start SLURM, or skip the test: what keeps daemons from starting is the machine, and the message says what."""
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(OneNodeSlurm(folder))
        except NoSlurm as error:
            pytest.skip(str(error))
        yield cluster


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneNodeSlurm]:
    with started(tmp_path_factory.mktemp("slurm")) as cluster:
        for name in ("PATH", "SLURM_CONF"):
            monkeypatch.setenv(name, cluster.environment[name])
        yield cluster


def test_a_run_with_rounds_gives_the_pixels_of_a_local_run(
    vendor: str, slurm: OneNodeSlurm, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    local, remote = (SlurmProject.of_vendor(tmp_path / name, vendor) for name in ("local", "remote"))
    local.local = True
    local.run("--", *TARGETS)
    output = remote.run("--", *TARGETS)
    partitions = slurm.submissions()
    submitted = len(re.findall(r"has been submitted with SLURM jobid", output))
    record_property("log", f"{submitted} jobs submitted, by partition {dict(partitions)}\n{slurm.story()}")

    assert submitted == partitions.total(), "a job was given back and started again"
    # ingest with crop of both roles, identify, compress with frames of reals and of both rounds
    assert partitions["cpu"] == 6
    # extract_motion, two rounds of animate, train
    assert partitions["gpu"] == 4
    # Jobs reach no network: weights and verdicts came to them as files.
    assert {"fetch_imagenet", "call_vendor"} <= set(re.findall(r"^localrule (\w+):", output, flags=re.M))
    refused = [row for path in remote.folder.glob("results/select/*@1.parquet") for row in read_rows(path)]
    assert len(refused) == QUOTA and all(row["status"] == "rejected" for row in refused)
    assert remote.pixels() == local.pixels()
    assert {name for name, _ in remote.pixels() if "@" in name}, "no fake to compare"
    assert "Nothing to be done" in remote.run("-n", "--", *TARGETS)


def put_before_squeue(line: str, folder: Path, slurm: OneNodeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Snakemake's squeue run a line of shell first."""
    folder.mkdir()
    (folder / "squeue").write_text(f'#!/bin/sh\n{line}\nexec {shutil.which("squeue")} "$@"\n')
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{slurm.environment['PATH']}")


@pytest.mark.extended
def test_a_run_that_is_interrupted_while_it_asks_for_its_jobs_cancels_them(
    slurm: OneNodeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Jobs wait in the queue for ever.
    slurm.command("scontrol", "update", "nodename=node0", "state=drain", "reason=test")
    asking = tmp_path / "asking"
    put_before_squeue(f"touch {asking}; sleep 2", tmp_path / "bin", slurm, monkeypatch)
    project = SlurmProject.make(tmp_path / "run")
    process = project.start("--", "results/crop/source/shard-0000.parquet")
    until = time.monotonic() + 120
    while not (slurm.command("squeue", "--noheader").strip() and asking.exists()):
        assert time.monotonic() < until and process.poll() is None, project.output.read_text()
        asking.unlink(missing_ok=True)
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    assert slurm.command("squeue", "--noheader").strip() == "", project.output.read_text()


@pytest.mark.extended
def test_a_run_goes_on_when_the_controller_has_been_away(
    slurm: OneNodeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    away = f"echo >>{calls}; [ $(wc -l <{calls}) -gt 10 ] || exit 1"
    put_before_squeue(away, tmp_path / "bin", slurm, monkeypatch)
    project = SlurmProject.make(tmp_path / "run")
    project.patience_s = 240
    project.run("--", "results/crop/source/shard-0000.parquet")
    assert len(calls.read_text()) > 10
