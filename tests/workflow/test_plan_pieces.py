"""Plans kept in a file: the same plan, made again when anything that it follows from changes, read piece by piece."""

import sqlite3
from pathlib import Path

import pytest
import yaml

from deepfakemnist.config.load import load_config
from deepfakemnist.workflow import plan_pieces
from deepfakemnist.workflow.plan_pieces import open_pieces, stored_pieces
from deepfakemnist.workflow.run_plan import FOLDER, VARIABLE, RunPlan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Config of forty sources and four drivers, in the current folder, with no plan in the environment."""
    videos = [f"p{number % 10}#{number}" for number in range(40)]
    (tmp_path / "sources.tsv").write_text("video_id\tpath\n" + "".join(f"{v}\t{v}.mp4\n" for v in videos))
    drivers = "".join(f"d{n}\t{action}\td{n}.mp4\n" for n, action in enumerate(("nod", "nod", "yaw", "yaw")))
    (tmp_path / "drivers.tsv").write_text(f"driver_id\taction\tpath\n{drivers}")
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    config["sources"]["sheet"], config["drivers"]["sheet"] = "sources.tsv", "drivers.tsv"
    config["liveness"]["motions"] = str(ROOT / "config/actions.tsv")
    config["plan"] |= {"actions": ["nod", "yaw"], "quota": 5, "max_rounds": 3}
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    return config


def plan_of(raw, is_main=True):
    return RunPlan.of_run(load_config(raw), is_main=is_main, check_files=False)


def everything(plan):
    """Return all that a plan says."""
    first = plan.first_round
    return (
        {role: {shard: plan.rows(role, shard) for shard in plan.shards(role)} for role in ("source", "driver")},
        [(shard, first.parts[shard], first.candidates(shard)) for shard in first.shards],
        plan.draw_candidates([]), plan.driver_batches(2), plan.captions(), plan.refused(), plan.left_aside(),
        plan.split_of(), plan.driver_splits(), plan.people(["test"]), plan.overview(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"drivers": "disjoint", "actions": ["nod"], "val_fraction": 0.0, "test_fraction": 0.5},
        {"max_rounds": 1, "actions_per_source": 2},
    ],
)
@pytest.mark.parametrize("size", ["auto", 1, 10])
def test_a_plan_from_the_file_says_the_same_as_one_from_the_sheets(raw, monkeypatch, plan, size):
    raw["plan"] |= plan
    raw["shard_size"] = size
    made = everything(RunPlan(load_config(raw), check_files=False))
    assert everything(plan_of(raw)) == made
    monkeypatch.setattr(plan_pieces, "make_pieces", lambda config: pytest.fail("planned again"))
    assert everything(plan_of(raw)) == made, "the next start"
    assert everything(plan_of(raw, is_main=False)) == made, "a job"


def test_a_job_works_by_the_plan_of_its_run_though_the_sheet_has_changed(raw):
    before = everything(plan_of(raw))
    Path("sources.tsv").write_text("video_id\tpath\nother\tother.mp4\n")
    assert everything(plan_of(raw, is_main=False)) == before
    assert plan_of(raw).split_of().keys() == {"other"}


def test_jobs_of_two_configs_in_one_run_get_the_plan_of_their_own(raw):
    """The workflow may be a module of another twice; both have one environment."""
    other = raw | {"seed": 77}
    plans = [everything(plan_of(one)) for one in (raw, other)]
    Path("sources.tsv").write_text("video_id\tpath\nother\tother.mp4\n")
    assert [everything(plan_of(one, is_main=False)) for one in (raw, other)] == plans
    assert plans[0] != plans[1]


@pytest.mark.parametrize("file", ["sources.tsv", "drivers.tsv", "out.tsv"])
def test_a_changed_sheet_is_planned_again(raw, file):
    Path("out.tsv").write_text("video_id\tperson_id\treason\n\tp1\tasked\n")
    raw["sources"]["exclude"] = "out.tsv"
    before = everything(plan_of(raw))
    Path(file).write_text("\n".join(Path(file).read_text().splitlines()[:-1]) + "\n")
    after = everything(plan_of(raw))
    assert after != before
    assert after == everything(RunPlan(load_config(raw), check_files=False))


@pytest.mark.parametrize("section", [{"seed": 5}, {"plan": {"quota": 9}}, {"sources": {"cropped": True}}])
def test_changed_settings_are_planned_again(raw, section):
    before = everything(plan_of(raw))
    changed = {key: raw[key] | value if isinstance(value, dict) else value for key, value in section.items()}
    assert everything(plan_of(raw | changed)) != before
    assert everything(plan_of(raw)) == before


def test_a_searched_folder_is_searched_again(raw):
    for name in ("a/1.mp4", "b/1.mp4", "c/1.mp4"):
        Path("videos", name).parent.mkdir(parents=True)
        Path("videos", name).touch()
    raw["sources"] = {"folder": "videos"}
    assert len(plan_of(raw).split_of()) == 3
    Path("videos/a/2.mp4").touch()
    assert len(plan_of(raw, is_main=False).split_of()) == 3
    assert len(plan_of(raw).split_of()) == 4


@pytest.mark.parametrize("damage", ["", "not a database", None])
def test_a_damaged_or_missing_file_is_made_again(raw, damage):
    before = everything(plan_of(raw))
    (path,) = FOLDER.glob("plan-*.sqlite")
    path.unlink() if damage is None else path.write_text(damage)
    assert everything(plan_of(raw, is_main=False)) == before
    assert everything(plan_of(raw)) == before
    assert open_pieces(FOLDER, path.stem.removeprefix("plan-")) is not None


def test_a_folder_that_cannot_be_written_costs_time_and_no_more(raw):
    FOLDER.parent.mkdir()
    FOLDER.touch()
    before = everything(plan_of(raw))
    assert before == everything(plan_of(raw, is_main=False)) == everything(RunPlan(load_config(raw), check_files=False))


def test_plans_of_other_settings_do_not_pile_up(raw):
    for seed in range(9):
        plan_of(raw | {"seed": seed})
    assert len(list(FOLDER.glob("plan-*"))) == 4
    assert plan_of(raw, is_main=False).pool()[3] == raw["seed"]


def test_an_unknown_piece_is_an_error(raw):
    pieces, _ = stored_pieces(load_config(raw), FOLDER)
    pieces, _ = stored_pieces(load_config(raw), FOLDER)
    with pytest.raises(sqlite3.DatabaseError, match="no piece rows source elsewhere"):
        pieces["rows source elsewhere"]
