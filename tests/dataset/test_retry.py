"""Another try of failed rows: which are chosen, what runs again, and what is not paid for again."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_vendors import ENVIRONMENT, settings_for, small_clip, vendors

from deepfakemnist.cli.main import main
from deepfakemnist.dataset.repair import finish_repair, remove_damaged
from deepfakemnist.dataset.retry import find_failed, retries
from deepfakemnist.liveness.simulator.faults import FaultPlan, Faults
from deepfakemnist.liveness.stages import liveness_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED, CROPPED, VERDICTS

CLIPS = 8
STATUS = {"status": "ok", "reason": "", "detail": ""}


def table(path: Path, reasons: list[str], schema=CROPPED) -> None:
    rows = [
        {"video_id": f"v{number}", **STATUS, **({"status": "failed", "reason": reason} if reason else {})}
        for number, reason in enumerate(reasons)
    ]
    write_table(rows, path, schema)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table(Path("results/crop/source/shard-0.parquet"), ["", "encode_failed", "truncated", "encode_failed"])
    table(Path("results/crop/source/shard-8.parquet"), ["", "corrupt"])
    table(Path("results/liveness/baidu/shard-0.parquet"), ["no_answer", "", "a_reason_of_ones_own"], VERDICTS)
    table(Path("results/select/shard-0.parquet"), ["no_answer"])
    return Path("results")


def chosen(results: Path, **options) -> dict[str, int]:
    return {f"{one.table.parent.name} {one.reason}": one.rows for one in find_failed(results, **options) if one.chosen}


def test_passing_reasons_are_chosen(results: Path) -> None:
    assert chosen(results) == {"source encode_failed": 2, "baidu no_answer": 1, "baidu a_reason_of_ones_own": 1}
    assert retries(results, find_failed(results)).targets == [
        "results/crop/source/shard-0.parquet", "results/liveness/baidu/shard-0.parquet",
    ]  # fmt: skip


def test_reasons_and_stages_can_be_named(results: Path) -> None:
    assert chosen(results, reasons=["corrupt"]) == {"source corrupt": 1}
    assert chosen(results, stages=["liveness"]) == {"baidu no_answer": 1, "baidu a_reason_of_ones_own": 1}
    assert chosen(results, stages=["crop/source"], every=True) == {
        "source encode_failed": 2, "source truncated": 1, "source corrupt": 1,
    }  # fmt: skip


def test_without_a_command_nothing_changes(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in results.rglob("*.parquet")}
    for words in ([], ["--dry-run", "--run", "snakemake"], ["--run", "snakemake", "-n"]):
        assert main(["retry", *words]) == 1
        output = capsys.readouterr().out
        assert "again results/crop/source/shard-0.parquet: 2 × encode_failed\n" in output
        assert "final results/crop/source/shard-8.parquet: 1 × corrupt\n" in output
        assert "6 failed rows; 4 in 2 tables to be tried again." in output
        assert "Nothing was changed" in output
    assert "results/crop/source/shard-0.parquet results/liveness" in output
    assert {path: path.read_bytes() for path in results.rglob("*.parquet")} == before
    assert not (results / "repair.json").exists()
    assert main(["retry", "--reason", "never"]) == 0
    assert main(["retry", "--stage", "crop", "--run", "snakemake", "-n", "--", "a", "b"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  snakemake -n -- results/crop/source/shard-0.parquet", "  snakemake -n -- a b",
    ]  # fmt: skip


def test_what_is_not_there_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", "elsewhere"]) == 1
    assert main(["retry", "--stage", "liveness/tianyan"]) == 1
    errors = capsys.readouterr().err
    assert "elsewhere is not a folder" in errors and "--stage liveness/tianyan: results/liveness/tianyan" in errors


@pytest.mark.slow
def test_a_vendor_that_was_down_is_asked_again_about_the_unanswered_clips_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    rows = []
    for number in range(CLIPS):
        clip = write_working_clip(f"clips/{number}.mp4", small_clip(number).frames, 25.0)
        rows.append({"video_id": f"v{number}", "action": "blink", **clip.columns(), **STATUS})
    made = Path("results/liveness/tianyan/shard-0.parquet")

    def job(address: str, clips: int) -> dict[str, str]:
        """Run the job of the shard as Snakemake does; return the reasons."""
        write_table(rows[:clips], Path("animated.parquet"), ANIMATED)
        settings = settings_for("tianyan", address, attempts=1)
        options = {"motions": {"blink": "BLINK"}, "answers": Path("results/answers")}
        liveness_shard(Path("animated.parquet"), made, settings, fps=25.0, code="c0de", **options)
        return {row["video_id"]: row["reason"] for row in read_rows(made)}

    with vendors() as (simulator, address):
        job(address, 3)
        made.unlink()
        simulator.account.faults = Faults(FaultPlan(share=1.0, kinds=("error",)))
        assert job(address, CLIPS) == {f"v{n}": "no_answer" if n > 2 else "" for n in range(CLIPS)}
        simulator.account.faults = Faults(FaultPlan())
        assert len(simulator.account.billed) == 3
        repair = retries(Path("results"), find_failed(Path("results")))
        assert repair.targets == [str(made)]
        remove_damaged(repair)
        assert set(job(address, CLIPS).values()) == {""}
        assert finish_repair(repair) == ([], [str(made)])
        assert len(simulator.account.billed) == CLIPS
        assert set(simulator.account.billed.values()) == {1}, "and none was paid for twice"
    assert find_failed(Path("results")) == []
