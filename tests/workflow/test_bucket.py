"""Files that are read while the workflow is parsed: to and from the bucket of the run."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepfakemnist.errors import ConfigError
from deepfakemnist.workflow.bucket import Bucket
from deepfakemnist.workflow.staged_files import VARIABLE


class Stored:
    """What a storage plugin gives for a query, with a folder as its bucket."""

    def __init__(self, query: str, bucket: Path) -> None:
        self.there = bucket / query.removeprefix("s3://")
        self.here = Path(".snakemake/storage/s3") / query.removeprefix("s3://")

    def local_path(self) -> Path:
        return self.here

    def set_local_path(self, path: Path) -> None:
        self.here = path

    async def managed_exists(self) -> bool:
        return self.there.exists()

    async def managed_retrieve(self) -> None:
        shutil.copy(self.there, self.here)

    async def managed_store(self) -> None:
        assert not self.there.exists()
        self.there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.here, self.there)


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setenv(VARIABLE, "")
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    provider = SimpleNamespace(object=lambda query: Stored(query, tmp_path / "cloud"))
    return SimpleNamespace(
        storage_registry=SimpleNamespace(default_storage_provider=provider),
        storage_settings=SimpleNamespace(default_storage_prefix="s3://bucket/runs/one/"),
        async_run=asyncio.run,
    )


def test_a_file_reaches_another_machine(
    workflow: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Path(".snakemake/deepfakemnist/plan.sqlite")
    plan.parent.mkdir(parents=True)
    plan.write_text("plan")
    for _ in range(2):  # the second time it is there
        Bucket(workflow, "packed").send(plan)
    assert (tmp_path / "cloud/bucket/runs/one" / plan).read_text() == "plan"
    (tmp_path / "node").mkdir()
    monkeypatch.chdir(tmp_path / "node")
    assert Bucket(workflow, "packed").fetch(plan).read_text() == "plan"
    assert not Bucket(workflow, "packed").fetch(Path("results/rounds/round2.parquet")).exists()


def test_scripts_learn_where_the_copies_lie(workflow: SimpleNamespace) -> None:
    Bucket(workflow, "packed")
    assert os.environ[VARIABLE] == ".snakemake/storage/s3/bucket/runs/one"


def test_a_provider_without_packed_media_is_refused(workflow: SimpleNamespace) -> None:
    with pytest.raises(ConfigError, match=r"set storage: \{media: packed\} in the config"):
        Bucket(workflow, "files")


def test_without_a_provider_nothing_moves(workflow: SimpleNamespace) -> None:
    workflow.storage_registry.default_storage_provider = None
    bucket = Bucket(workflow, "files")
    bucket.send(Path("missing"))
    assert bucket.fetch(Path("missing")) == Path("missing")
    assert os.environ[VARIABLE] == ""
