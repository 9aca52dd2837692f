from collections import Counter
from pathlib import Path

import pytest
import yaml

from deepfakemnist.config.load import load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.planning.assignment import Assignment
from deepfakemnist.workflow.params import digest
from deepfakemnist.workflow.run_plan import RunPlan
from deepfakemnist.workflow.sharding import round_of


@pytest.fixture
def run_plan(tmp_path):
    """Factory of run plans with thirty sources, four drivers and the given plan settings."""

    def make(**plan):
        videos = [f"p{number % 10}#{number}" for number in range(30)]
        (tmp_path / "sources.tsv").write_text("video_id\tpath\n" + "".join(f"{v}\t{v}.mp4\n" for v in videos))
        drivers = "".join(f"d{n}\t{action}\td{n}.mp4\n" for n, action in enumerate(("nod", "nod", "yaw", "yaw")))
        (tmp_path / "drivers.tsv").write_text(f"driver_id\taction\tpath\n{drivers}")
        config = yaml.safe_load(Path("config/config.yaml").read_text(encoding="utf-8"))
        config["sources"]["sheet"], config["drivers"]["sheet"] = (
            str(tmp_path / f"{n}.tsv") for n in ("sources", "drivers")
        )
        config["shard_size"] = 10
        config["plan"] |= {"actions": ["nod", "yaw"], **plan}
        return RunPlan(load_config(config), check_files=False)

    return make


def test_without_rounds_fakes_are_in_the_shards_of_their_sources(run_plan):
    plan = run_plan(quota=4)
    assert not plan.rounds
    assert plan.fake_shards() == plan.shards("source") == ["shard-0000", "shard-4000", "shard-8000"]
    assert (plan.count("source"), plan.count("driver")) == (30, 4)
    assert sum(part.fakes for part in plan.first_round.parts.values()) == 30
    assert sum(len(plan.first_round.candidates(shard)) for shard in plan.fake_shards()) == 30
    for shard in plan.fake_shards():
        assert plan.first_round.sources_of(shard) == plan.first_round.fakes_of([shard]) == [shard]


def test_every_round_is_cut_by_its_own_number_of_candidates(run_plan):
    plan = run_plan(quota=4, max_rounds=3)
    assert all(shard.endswith("@1") for shard in plan.fake_shards())
    first = [one for shard in plan.fake_shards() for one in plan.first_round.candidates(shard)]
    assert Counter(one.action for one in first) == {"nod": 11, "yaw": 11}, "quota 4, expected pass rate 0.5"
    later = [Assignment(one.source_id, one.person_id, "yaw", one.split, 9, 2) for one in first[::4]]
    second = plan.later_round(later)
    assert second.shards == ["shard-0000@2"], "six candidates"
    assert round_of("shard-0000@2") == 2
    assert second.candidates("shard-0000@2") == later
    assert plan.later_round([]).shards == []
    for one in (plan.first_round, second):
        for shard in one.shards:
            of_shard = one.sources_of(shard)
            rows = [row["video_id"] for source in of_shard for row in plan.rows("source", source)]
            assert {made.source_id for made in one.candidates(shard)} <= set(rows)
            assert all(shard in one.fakes_of([source]) for source in of_shard)
    assert second.sources_of("shard-0000@2") == plan.shards("source")
    assert second.fakes_of(["shard-4000"]) == ["shard-0000@2"]
    assert second.sources_of("shard-0000@1") == second.candidates("shard-0000@1") == []
    assert second.fakes_of(["shard-1234"]) == []


def test_disjoint_drivers_need_a_person_for_every_action_in_each_split(run_plan):
    assert run_plan().driver_splits() is None
    with pytest.raises(
        ConfigError, match=r"no driver for nod in (train|val|test), .*2 in train, 1 in val, 1 in test"
    ) as error:
        run_plan(drivers="disjoint")
    assert "plan.drivers: shared" in str(error.value)
    nod_only = run_plan(drivers="disjoint", actions=["nod"], val_fraction=0.0, test_fraction=0.5)
    assert sorted(nod_only.driver_splits().values()) == ["test", "test", "train", "train"]


def test_more_rounds_or_another_shortfall_policy_do_not_resample(run_plan):
    before = digest(run_plan(quota=4, max_rounds=3).pool())
    assert digest(run_plan(quota=4, max_rounds=9, on_shortfall="fail", reals="of_fakes").pool()) == before
    assert digest(run_plan(quota=5, max_rounds=3).pool()) != before


def test_batches_of_a_round_carry_its_number(run_plan):
    plan = run_plan(quota=4, max_rounds=3)
    (job,) = plan.first_round.batches(800)
    assert (job, round_of(job)) == ("batch-0000@1", 1)
    assert plan.first_round.batches(800)[job] == plan.fake_shards()
    assert len(plan.first_round.batches(1)) > 1
    second = plan.later_round([Assignment("p1#1", "p1", "yaw", "train", 9, 2)])
    assert second.batches(800) == {"batch-0000@2": second.shards}
    assert plan.later_round([]).batches(800) == {}
    assert sorted(plan.driver_batches(800)) == ["batch-0000"]


def test_a_licence_is_a_caption_and_reaches_no_stage(run_plan, tmp_path):
    plan = run_plan()
    sheet = tmp_path / "sources.tsv"
    lines = sheet.read_text().splitlines()
    licensed = [lines[0] + "\tlicence", *(f"{line}\tCC-BY-4.0" for line in lines[1:])]
    sheet.write_text("\n".join(licensed) + "\n")
    other = RunPlan(plan.config, check_files=False)
    for role in ("source", "driver"):
        for shard in plan.shards(role):
            assert other.rows(role, shard) == plan.rows(role, shard)
    assert {row["licence"] for row in plan.captions()} == {None}
    assert {row["licence"] for row in other.captions()} == {"CC-BY-4.0"}
    assert len(other.captions()) == 30
