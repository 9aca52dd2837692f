from collections import Counter

import pytest

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.planning.assignment import assign, choose_driver, plan_shard, split_people
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, MOTIONS


def sources(people=20, videos=3):
    return [{"video_id": f"p{p}#v{v}", "person_id": f"p{p}"} for p in range(people) for v in range(videos)]


def test_splits_are_disjoint_by_person_and_near_their_fractions():
    rows = sources(people=100)
    assignments = assign(rows, PlanSettings(), seed=1)
    splits = {}
    for one in assignments:
        assert splits.setdefault(one.person_id, one.split) == one.split
    assert Counter(splits.values()) == {"train": 70, "val": 15, "test": 15}


@pytest.mark.parametrize("people", [3, 4, 7])
def test_small_sets_still_have_every_split(people):
    splits = split_people([f"p{n}" for n in range(people)], PlanSettings(), seed=5)
    assert set(splits.values()) == {"train", "val", "test"}


def test_actions_are_balanced_within_each_split():
    assignments = assign(sources(people=40), PlanSettings(actions_per_source=2), seed=3)
    assert len(assignments) == 240
    for split in ("train", "val", "test"):
        counts = Counter(one.action for one in assignments if one.split == split)
        assert set(counts) == set(ACTIONS)
        assert max(counts.values()) - min(counts.values()) <= 1
    for source in {one.source_id for one in assignments}:
        assert len({one.action for one in assignments if one.source_id == source}) == 2


def test_assignment_depends_on_seed_and_ids_but_not_on_order():
    rows = sources()
    assert assign(rows, PlanSettings(), 1) == assign(rows[::-1], PlanSettings(), 1)
    assert assign(rows, PlanSettings(), 1) != assign(rows, PlanSettings(), 2)


def test_plan_order_counts_from_zero_within_action_and_split():
    ranks = {}
    for one in assign(sources(), PlanSettings(actions_per_source=3), 1):
        ranks.setdefault((one.action, one.split), []).append(one.plan_order)
    for order in ranks.values():
        assert order == list(range(len(order)))


def test_the_driver_is_usable_performs_the_action_and_is_another_person():
    (one,) = assign([{"video_id": "s", "person_id": "anna"}], PlanSettings(actions=["nod"]), 1)
    drivers = [
        {"video_id": "d1", "action": "nod", "person_id": "anna", "status": "ok"},
        {"video_id": "d2", "action": "nod", "person_id": "ben", "status": "ok"},
        {"video_id": "d3", "action": "nod", "person_id": "cid", "status": "rejected"},
        {"video_id": "d4", "action": "yaw", "person_id": "dan", "status": "ok"},
    ]
    assert choose_driver(one, drivers, 1)["video_id"] == "d2"
    assert choose_driver(one, drivers[:1], 1)["video_id"] == "d1", "the same person is the last resort"
    with pytest.raises(Rejected, match="no_driver"):
        choose_driver(one, drivers[2:], 1)


def test_the_plan_has_a_row_for_every_unusable_source(tmp_path):
    rows = [{"video_id": name, "person_id": name} for name in ("good", "bad", "broken")]
    write_table(
        [
            {"video_id": "good", "path": "good.mp4", "pixels_sha256": "12", "status": "ok"},
            {"video_id": "bad", "status": "rejected", "reason": "no_face", "detail": "0 of 9 frames"},
        ],
        tmp_path / "crop.parquet",
        CROPPED,
    )
    driver = {"video_id": "d", "action": "nod", "person_id": "c", "path": "d.npz", "frames": 40, "status": "ok"}
    write_table([driver], tmp_path / "motion.parquet", MOTIONS)
    assignments = assign(rows, PlanSettings(actions=["nod"]), 1)
    plan_shard(assignments, tmp_path / "crop.parquet", [tmp_path / "motion.parquet"], tmp_path / "plan.parquet", 1, "v")
    found = {row["source_id"]: row for row in read_rows(tmp_path / "plan.parquet")}
    assert found["good"]["video_id"] == "good@d"
    assert (found["good"]["source_path"], found["good"]["motion_path"], found["good"]["status"]) == (
        "good.mp4",
        "d.npz",
        "ok",
    )
    assert (found["bad"]["status"], found["bad"]["reason"]) == ("rejected", "source_unusable")
    assert "no_face" in found["bad"]["detail"]
    assert (found["broken"]["status"], found["broken"]["detail"]) == ("rejected", "rejected or failed at ingest")
