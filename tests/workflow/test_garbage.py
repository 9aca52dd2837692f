"""What a run does not need any more: which clips are spent, on tables and files as the stages write them."""

import fcntl
import os
from pathlib import Path

import pytest
import yaml

from deepfakemnist.cli.main import main
from deepfakemnist.config.load import load_config
from deepfakemnist.dataset.removed_clips import RemovedClip, forget_removed, read_removed, remove_clips
from deepfakemnist.dataset.repair import find_repairs
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import ANIMATED, CANDIDATES, COMPRESSED, CROPPED, INGESTED, SELECTED
from deepfakemnist.workflow.garbage import describe_clips_to_restore, remove_intermediate, spent_clips
from deepfakemnist.workflow.orphans import planned_tables
from deepfakemnist.workflow.run_plan import RunPlan

ROOT = Path(__file__).parents[2]
OK = {"status": "ok", "reason": "", "detail": ""}
REJECTED = {"status": "rejected", "reason": "not_live", "detail": ""}
SCHEMAS = {"crop": CROPPED, "animate": ANIMATED, "compress": COMPRESSED, "select": SELECTED}
VIDEOS = ("a", "b", "c", "d")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A config of four sources, one a shard, and one driver, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("sources.tsv").write_text("video_id\tpath\n" + "".join(f"{name}\t{name}.mp4\n" for name in VIDEOS))
    Path("drivers.tsv").write_text("driver_id\taction\tpath\ndriver\tnod\td.mp4\n")
    settings = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    settings["sources"] |= {"sheet": "sources.tsv"}
    settings["drivers"] |= {"sheet": "drivers.tsv"}
    settings["plan"] |= {"actions": ["nod"]}
    settings["shard_size"] = 1
    settings["liveness"]["motions"] = str(ROOT / "config/actions.tsv")
    return settings


def plan_of(settings):
    return RunPlan(load_config(settings), check_files=False)


def write_run(settings, rejected=("d@driver",)):
    """Write every table of the plan, with a clip per row of crop, animate and compress, and the pages."""
    for table in planned_tables(plan_of(settings), Path("results")):
        parts = table.relative_to("results").parts
        name = table.stem if "source" in parts or "real" in parts or "driver" in parts else f"{table.stem}@driver"
        row = {"video_id": name, **(REJECTED if name in rejected and parts[0] == "select" else OK)}
        if parts[0] == "select":
            row |= {"action": "nod", "path": f"results/animate/{table.stem}/{name}.mp4"}
        elif parts[0] in SCHEMAS:
            clip = table.with_suffix("") / f"{name}.mp4"
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.write_text(name)
            row |= {"path": str(clip), "bytes": clip.stat().st_size}
        write_table([row], table, SCHEMAS.get(parts[0], INGESTED))
        if parts[0] == "animate":
            os.utime(table, (0, 0))
    write_pages()


def write_pages():
    for page in ("manifest/videos.parquet", "report/crops.html", "report/gallery.html", "report/liveness.html"):
        path = Path("results", page)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def spent(settings):
    return {clip.path for clip in spent_clips(plan_of(settings), Path("results"))}


def crops():
    return {f"results/crop/source/{name}/{name}.mp4" for name in VIDEOS}


def animation(name):
    return f"results/animate/{name}/{name}@driver.mp4"


def test_of_a_complete_run_crops_of_sources_and_animations_are_spent_but_for_examples(settings):
    write_run(settings)
    # d is the first that was rejected: the gallery shows it.
    assert spent(settings) == {*crops(), animation("a"), animation("b"), animation("c")}


@pytest.mark.parametrize("lacking", ["compress/fake", "judge", "liveness/local-action", "select"])
def test_animations_stay_until_all_that_is_made_from_them_is_there(settings, lacking):
    write_run(settings)
    Path("results", lacking, "b.parquet").unlink()
    assert spent(settings) == {animation("a"), animation("c")}


def test_animations_stay_while_what_was_made_from_earlier_ones_is_older(settings):
    write_run(settings)
    Path("results/animate/b.parquet").touch()
    assert animation("b") not in spent(settings) and animation("c") in spent(settings)


@pytest.mark.parametrize("lacking", ["identify/a.parquet", "frames/fake/d.parquet", "report/crops.html"])
def test_crops_stay_until_tables_and_pages_are_complete(settings, lacking):
    write_run(settings)
    Path("results", lacking).unlink()
    assert spent(settings) == {animation("a"), animation("b"), animation("c")}


def test_crops_stay_while_another_round_may_follow(settings):
    settings["plan"] |= {"quota": 2, "max_rounds": 3, "expected_pass_rate": 1.0}
    write_run(settings)
    assert not crops() & spent(settings)
    write_table([], "results/rounds/round2.parquet", CANDIDATES)
    assert crops() <= spent(settings)


def test_selected_sources_are_removed_where_they_were_made(settings):
    settings["sources"] |= {"select": {"videos": 4}}
    write_run(settings)
    for name in VIDEOS:
        clip = Path(f"results/candidates/source/{name}/{name}.mp4")
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_text(name)
        row = {"video_id": name, **OK, "path": str(clip), "bytes": 1}
        write_table([row], f"results/candidates/source/{name}.parquet", CROPPED)
    assert {path for path in spent(settings) if "/source/" in path} == {
        f"results/candidates/source/{name}/{name}.mp4" for name in VIDEOS
    }


def test_clips_in_archives_stay(settings):
    settings["storage"] = {"media": "packed"}
    write_run(settings)
    assert spent(settings) == set()
    with pytest.raises(ConfigError, match="the archives hold them too"):
        plan_of({**settings, "disk": {"intermediate": "remove"}})


def test_removed_clips_are_no_damage_until_they_are_forgotten(settings):
    write_run(settings)
    assert "Removed 7 intermediate clips" in remove_intermediate(plan_of(settings), Path("results"))
    assert not any(Path(path).exists() for path in crops())
    assert spent(settings) == set()
    missing = {str(damage.path) for damage in find_repairs(Path("results")).damaged if damage.kind == "missing"}
    assert missing == set()
    forget_removed(Path("results"))
    found = find_repairs(Path("results")).damaged
    assert {str(damage.path) for damage in found if damage.kind == "missing"} == {
        *crops(), animation("a"), animation("b"), animation("c")
    }  # fmt: skip


def test_the_record_names_what_a_kill_left_only_until_it_is_gone(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_text("clip")
    one, other = (RemovedClip(str(path), "table", 4) for path in paths)
    assert remove_clips(tmp_path, [one]) == 4
    assert remove_clips(tmp_path, [other]) == 4
    assert read_removed(tmp_path) == [one, other]
    paths[0].write_text("made again")
    assert read_removed(tmp_path) == [other]


def test_jobs_that_would_read_removed_clips_are_named_unless_those_are_made_again(settings):
    write_run(settings)
    remove_intermediate(plan_of(settings), Path("results"))
    compress = ("compress", ["results/crop/source/a.parquet"], ["results/compress/real/a.parquet"])
    text = describe_clips_to_restore(Path("results"), [compress])
    assert "those of 1 tables, the first results/crop/source/a.parquet" in text and "gc --restore" in text
    # Fakes are encoded by the table of what was accepted.
    compress_fakes = ("compress", ["results/select/b.parquet"], ["results/compress/fake/b.parquet"])
    assert "results/select/b.parquet" in describe_clips_to_restore(Path("results"), [compress_fakes])
    crop = ("crop", [], ["results/crop/source/a.parquet"])
    assert describe_clips_to_restore(Path("results"), [crop, compress]) == ""
    manifest = ("manifest", ["results/crop/source/a.parquet"], [])
    assert describe_clips_to_restore(Path("results"), [manifest]) == ""


def test_clips_stay_while_a_job_writes(settings):
    write_run(settings)
    with Path("results/crop/source/.a.parquet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "stay: a job is writing" in remove_intermediate(plan_of(settings), Path("results"))
        assert crops() <= spent(settings)


def test_the_command_removes_orphans_and_parts_and_clips_only_on_request(settings, capsys):
    Path("config/config.yaml").write_text(yaml.safe_dump(settings))
    write_run(settings)
    orphan, part = Path("results/crop/source/gone.parquet"), Path("results/frames/real/.a.abcdefgh.part.parquet")
    for path in (orphan, part):
        path.write_text("x" * 10)
    assert main(["gc", "--dry-run", "--list"]) == 0
    printed = capsys.readouterr().out
    assert str(orphan) in printed and str(part) in printed and "Nothing was changed" in printed
    assert orphan.exists() and part.exists()
    assert main(["gc"]) == 0
    assert not orphan.exists() and not part.exists()
    assert all(Path(path).exists() for path in crops())
    assert "intermediate" not in capsys.readouterr().out
    assert main(["gc", "--intermediate"]) == 0
    assert "4 intermediate clips of crop/source" in capsys.readouterr().out
    assert not any(Path(path).exists() for path in crops())
    assert main(["gc", "--restore"]) == 1
    assert "needs the command of your runs" in capsys.readouterr().err


def test_nothing_is_removed_while_snakemake_runs(settings, capsys):
    Path("config/config.yaml").write_text(yaml.safe_dump(settings))
    write_run(settings)
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.input.lock").touch()
    assert main(["gc", "--intermediate"]) == 1
    assert "is locked by Snakemake" in capsys.readouterr().err
    assert all(Path(path).exists() for path in crops())
