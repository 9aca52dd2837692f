"""Inputs and outputs of a storage provider at the paths of a run without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import InputFiles, OutputFiles

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CROPPED
from deepfakemnist.workflow.packed_media import pack
from deepfakemnist.workflow.staged_files import VARIABLE, staged_files

COPIES = Path(".snakemake/storage/s3/bucket/runs/one")


@pytest.fixture(autouse=True)
def in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(COPIES))


def job(inputs: dict, outputs: dict) -> SimpleNamespace:
    for path in inputs.values():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    made = SimpleNamespace(
        input=InputFiles(fromdict={name: str(path) for name, path in inputs.items()}),
        output=OutputFiles(fromdict={name: str(path) for name, path in outputs.items()}),
    )
    return made


def test_a_script_works_with_the_paths_of_the_run() -> None:
    given = {"table": COPIES / "results/ingest/s.parquet", "weights": Path("weights.pth")}
    snakemake = job(given, {"table": COPIES / "results/crop/s.parquet"})
    (COPIES / "results/ingest/s.parquet").write_bytes(b"ingested")
    with staged_files(snakemake, Path("results")):
        assert (snakemake.input.table, snakemake.input.weights) == ("results/ingest/s.parquet", "weights.pth")
        assert list(snakemake.input) == ["results/ingest/s.parquet", "weights.pth"]
        assert Path(snakemake.input.table).read_bytes() == b"ingested"
        assert snakemake.output.table == "results/crop/s.parquet"
        Path("results/crop").mkdir()
        Path(snakemake.output.table).write_bytes(b"cropped")
    assert (COPIES / "results/crop/s.parquet").read_bytes() == b"cropped"


def test_an_input_replaces_what_an_earlier_job_left() -> None:
    snakemake = job({"table": COPIES / "results/ingest/s.parquet"}, {})
    (COPIES / "results/ingest/s.parquet").write_bytes(b"new")
    Path("results/ingest").mkdir(parents=True)
    Path("results/ingest/s.parquet").write_bytes(b"old")
    with staged_files(snakemake, Path("results")):
        assert Path("results/ingest/s.parquet").read_bytes() == b"new"


def test_nothing_is_handed_over_after_an_error() -> None:
    snakemake = job({}, {"table": COPIES / "results/crop/s.parquet"})
    Path("results/crop").mkdir(parents=True)
    with pytest.raises(RuntimeError), staged_files(snakemake, Path("results")):
        Path(snakemake.output.table).write_bytes(b"half")
        raise RuntimeError
    assert not (COPIES / "results/crop/s.parquet").exists()


def test_media_is_unpacked_before_and_packed_after_the_script() -> None:
    Path("videos").mkdir()
    Path("videos/a.mp4").write_bytes(b"filmed")
    pack(["videos/a.mp4"], COPIES / "results/videos/s.tar")
    Path("videos/a.mp4").unlink()
    outputs = {"table": COPIES / "results/crop/s.parquet", "media": COPIES / "results/crop/s.tar"}
    snakemake = job({"media": COPIES / "results/videos/s.tar"}, outputs)
    with staged_files(snakemake, Path("results"), frozenset({"videos/a.mp4"})):
        Path("results/crop/s").mkdir(parents=True)
        Path("results/crop/s/a.mp4").write_bytes(Path("videos/a.mp4").read_bytes()[::-1])
        row = {"video_id": "a", "status": "ok", "reason": "", "detail": "", "path": "results/crop/s/a.mp4"}
        write_table([{**dict.fromkeys(CROPPED.names), **row}], Path(snakemake.output.table), CROPPED)
    assert b"demlif" in (COPIES / "results/crop/s.tar").read_bytes()


def test_videos_of_the_user_are_written_only_where_the_run_lists_them() -> None:
    Path("sources.tsv").write_text("listed")
    pack(["sources.tsv"], COPIES / "results/videos/s.tar")
    snakemake = job({"media": COPIES / "results/videos/s.tar"}, {})
    with (
        pytest.raises(ConfigError, match=r"holds 'sources\.tsv'"),
        staged_files(snakemake, Path("results"), frozenset({"videos/a.mp4"})),
    ):
        pass


def test_without_a_provider_all_paths_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    snakemake = job({"table": COPIES / "results/ingest/s.parquet"}, {})
    with staged_files(snakemake, Path("results")):
        assert snakemake.input.table == str(COPIES / "results/ingest/s.parquet")
    assert not Path("results").exists()
