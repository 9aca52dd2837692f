"""Orphans of a changed plan, on tables and files as the stages write them."""

from pathlib import Path

import pytest
import yaml

from deepfakemnist.cli.main import main
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.measured import MEASURED
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.journal import Entry, Journal
from deepfakemnist.tables.schemas import ANIMATED, COMPRESSED, CROPPED, INGESTED, MOTIONS, VERDICTS
from deepfakemnist.workflow.orphans import check_not_running

OK = {"status": "ok", "reason": "", "detail": ""}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with sheets of the sources a and b and of the driver d, and a config."""
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text(encoding="utf-8"))
    Path("config").mkdir()
    Path("sources.tsv").write_text("video_id\tpath\na\ta.mp4\nb\tb.mp4\n")
    Path("drivers.tsv").write_text("driver_id\taction\tpath\nd\tnod\td.mp4\n")
    config["sources"] |= {"sheet": "sources.tsv"}
    config["drivers"] |= {"sheet": "drivers.tsv"}
    config["plan"] |= {"actions": ["nod"]}
    config["shard_size"] = 1
    config["liveness"]["providers"] = [{"provider": "local-action"}]
    config["liveness"]["motions"] = str(Path(__file__).parents[2] / "config/actions.tsv")
    config["animator"] = {"name": "mesh"}
    Path("config/config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def stage(folder, shard, schema=INGESTED, names=None, suffix=".mp4", at=None):
    """Write a table, its lock and journal, and a file per row, in the folder of the shard or of another."""
    table = Path("results", folder, f"{shard}.parquet")
    rows = []
    for name in names or [shard]:
        path = Path("results", folder, at or shard, f"{name}{suffix}")
        row = {"video_id": name, **OK}
        if "path" in schema.names and schema is not INGESTED:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            row["path"] = str(path)
        rows.append(row)
    write_table(rows, table, schema)
    table.with_name(f".{table.name}.lock").touch()
    Journal.of_table(table).keep([Entry.of(row["video_id"], "mark", [row]) for row in rows])
    return table


def files():
    return {str(path) for path in Path("results").rglob("*") if path.is_file()}


def orphans(capsys, *words):
    assert main(["orphans", *words]) == 0
    return capsys.readouterr().out.splitlines()


def write_run(shards):
    for shard in shards:
        stage("ingest/source", shard)
        stage("crop/source", shard, CROPPED)
        stage("animate", shard, ANIMATED, [f"{shard}@d"])
        stage("liveness/local-action", shard, VERDICTS)
        for name in ("plan", "judge", "select"):
            stage(name, shard)
        for kind in ("real", "fake"):
            stage(f"compress/{kind}", shard, COMPRESSED, at=f"{shard}/c23")
            stage(f"frames/{kind}", shard)
    for name in ("ingest/driver", "crop/driver"):
        stage(name, "d")
    stage("extract_motion", "d", MOTIONS, suffix=".npz")


def test_a_run_of_the_plan_has_none(project, capsys):
    write_run("ab")
    assert orphans(capsys) == ["0 files, 0.0 MB, that the run no longer plans."]


def test_what_a_removed_source_left_is_listed_and_removed_and_nothing_else(project, capsys):
    write_run("ab")
    planned = files()
    write_run("c")
    stage("liveness/baidu", "a", VERDICTS)
    gone = files() - planned
    mine = {
        "results/liveness_answers/baidu/answers.jsonl", "results/animator/checkpoint.safetensors",
        "results/detectors/x/checkpoint.safetensors", "results/crop/source/notes.txt",
        "results/crop/source/c/notes.txt",
        "results/manifest/videos.parquet",
    }  # fmt: skip
    for name in mine:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    listed = orphans(capsys)
    assert set(listed[:-1]) == gone and len(gone) > 20
    assert "that the run no longer plans. --remove deletes them." in listed[-1]
    assert files() == planned | gone | mine, "a dry run removes nothing"
    assert orphans(capsys, "--remove")[-1].endswith("removed.")
    assert files() == planned | mine
    assert not Path("results/animate/c").exists()


def test_a_video_that_another_shard_took_over_is_in_use(project, capsys):
    write_run("ab")
    stage("crop/source", "a", CROPPED, ["a"], at="shard-0")
    Path("results/crop/source/a/a.mp4").unlink()
    Path("results/crop/source/shard-0/x.mp4").touch()
    assert orphans(capsys)[:-1] == ["results/crop/source/shard-0/x.mp4"]


def test_what_an_unfinished_stage_may_take_over_is_kept(project, capsys):
    write_run("ab")
    stage("crop/source", "shard-0", CROPPED, ["a", "b"])
    Path("results/crop/source/a.parquet").unlink()
    Path("results/crop/source/shard-0/x.mp4").touch()
    listed = orphans(capsys)
    assert set(listed[:-2]) == {
        "results/crop/source/.shard-0.parquet.lock", "results/crop/source/shard-0.parquet",
        "results/crop/source/shard-0/x.mp4",
    }  # fmt: skip
    assert listed[-2].startswith("results/crop/source is not finished")


def test_unfinished_files_of_killed_jobs_are_listed(project, capsys):
    write_run("ab")
    left = {"results/animate/a/.a@d.k3j2.part.mp4", "results/crop/source/.a.x1y2.part.parquet"}
    for name in left:
        Path(name).touch()
    assert set(orphans(capsys)[:-1]) == left


def test_measures_of_former_training_sets_and_facts_of_former_parts_are_listed(project, capsys):
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    config["dataset"] = {"folds": 3}
    config["training"] |= {"trained_on": ["raw", "raw-only-each", "raw-fold-each"]}
    config["evaluation"] |= {"datasets": {"other": "elsewhere"}, "robustness": ["blur"]}
    Path("config/config.yaml").write_text(yaml.safe_dump(config))
    write_run("ab")
    own = ("raw", "raw-only-nod", "raw-fold-0", "raw-fold-1", "raw-fold-2")
    kept = ["audit/facts/1-of-1", "evaluation/measured/predictions/raw-folds"]
    kept += [
        f"evaluation/measured/{where}/{name}" for where in ("predictions", "on_other", "perturbed") for name in own
    ]
    gone = [
        "audit/facts/1-of-2", "audit/facts/2-of-2", "evaluation/measured/on_other/raw-folds",
        "evaluation/measured/on_former/raw", "evaluation/measured/predictions/c23",
        "evaluation/measured/predictions/raw-only-yaw", "evaluation/measured/predictions/raw-fold-3",
    ]  # fmt: skip
    for name in (*kept, *gone):
        write_table([], f"results/{name}.parquet", MEASURED)
    Path("results/evaluation/metrics.tsv").touch()
    before = files()
    gone = {f"results/{name}.parquet" for name in gone}
    assert set(orphans(capsys, "--remove")[:-1]) == gone
    assert files() == before - gone
    assert not Path("results/evaluation/measured/on_former").exists()


def test_links_are_left_alone(project, capsys):
    write_run("ab")
    Path("elsewhere").mkdir()
    Path("elsewhere/my.mp4").touch()
    Path("results/crop/source/linked").symlink_to(Path("elsewhere").absolute())
    Path("results/animate/a/linked.mp4").symlink_to(Path("elsewhere/my.mp4").absolute())
    assert len(orphans(capsys)) == 1


def test_nothing_is_removed_while_snakemake_may_be_running(project, capsys):
    write_run("abc")
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.input.lock").touch()
    before = files()
    assert main(["orphans", "--remove"]) == 1
    assert "is locked by Snakemake" in capsys.readouterr().err
    assert files() == before
    with pytest.raises(ConfigError, match="locked"):
        check_not_running(project)


def test_a_damaged_table_ends_the_listing(project, capsys):
    write_run("ab")
    Path("results/crop/source/a.parquet").write_bytes(b"PAR1")
    assert main(["orphans", "--remove"]) == 1
    assert "results/crop/source/a.parquet cannot be read" in capsys.readouterr().err


def test_later_config_files_override_single_keys(project, capsys):
    write_run("ab")
    Path("more.yaml").write_text("pathvars: {results: other}\n")
    assert main(["orphans", "--configfile", "more.yaml"]) == 1
    assert "other is no folder" in capsys.readouterr().err
