import random
from collections import Counter, defaultdict

import pytest

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.planning.assignment import (
    assign,
    choose_driver,
    plan_order_of,
    plan_shard,
    split_drivers,
    split_people,
)
from deepfakemnist.tables.columns import BEST_FRAME
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, MOTIONS


def sources(people=20, videos=3):
    return [{"video_id": f"p{p}#v{v}", "person_id": f"p{p}"} for p in range(people) for v in range(videos)]


def test_splits_are_disjoint_by_person_and_near_their_fractions():
    rows = sources(people=1000, videos=2)
    splits = {}
    for one in assign(rows, PlanSettings(), seed=1):
        assert splits.setdefault(one.person_id, one.split) == one.split
    counts = Counter(splits.values())
    # Four standard deviations of a binomial distribution.
    assert abs(counts["val"] - 150) <= 45 and abs(counts["test"] - 150) <= 45


@pytest.mark.parametrize("people", [3, 4, 7, 11, 20])
@pytest.mark.parametrize("seed", range(8))
def test_small_sets_still_have_every_split(people, seed):
    splits = split_people([f"p{n}" for n in range(people)], PlanSettings(), seed)
    assert set(splits.values()) == {"train", "val", "test"}


def test_one_or_two_people_are_in_train_and_a_fraction_of_zero_gets_nobody():
    assert split_people(["anna", "ben"], PlanSettings(), 1) == {"anna": "train", "ben": "train"}
    nobody = PlanSettings(val_fraction=0)
    assert set(split_people([f"p{n}" for n in range(200)], nobody, 1).values()) == {"train", "test"}


@pytest.mark.parametrize(("people", "videos", "each"), [(40, 3, 2), (300, 1, 1), (30, 9, 3), (2000, 1, 1)])
def test_actions_are_balanced_within_each_split(people, videos, each):
    assignments = assign(sources(people, videos), PlanSettings(actions_per_source=each), seed=3)
    assert len(assignments) == people * videos * each
    for split in ("train", "val", "test"):
        counts = Counter(one.action for one in assignments if one.split == split)
        mean = sum(counts.values()) / len(ACTIONS)
        assert set(counts) == set(ACTIONS)
        # A slack of three, and rounding.
        assert max(counts.values()) <= mean + 4 and min(counts.values()) >= mean - 4
    actions = Counter((one.source_id, one.action) for one in assignments)
    assert set(actions.values()) == {1}


@pytest.mark.parametrize("seed", range(6))
def test_ten_sources_are_enough_for_ten_actions(seed):
    """Of the sources in train, as in the demo."""
    assignments = assign(sources(people=14, videos=1), PlanSettings(val_fraction=0.1, test_fraction=0.1), seed)
    assert {one.action for one in assignments if one.split == "train"} == set(ACTIONS)


def test_the_videos_of_a_person_get_different_actions():
    assignments = assign(sources(people=200, videos=5), PlanSettings(), seed=2)
    repeated = sum(count - 1 for count in Counter((one.person_id, one.action) for one in assignments).values())
    # Chance alone would repeat 0.9 of 5 per person; only displaced sources do.
    assert repeated < 0.1 * len(assignments)


def random_sources(size, several, seed):
    """Sources of people with random names: one video each, or 1 to 12 as in VoxCeleb's utterances."""
    rng = random.Random(f"{size} {several} {seed}")
    rows = []
    while len(rows) < size:
        person = f"id{rng.randrange(10**9)}"
        videos = rng.choice((1, 2, 3, 5, 8, 12)) if several else 1
        rows += [{"video_id": f"{person}#{n}", "person_id": person} for n in range(min(videos, size - len(rows)))]
    return rows, rng


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(("size", "sets"), [(150, 5), (400, 3), pytest.param(3000, 1, marks=pytest.mark.slow)])
def test_a_person_more_or_less_changes_few_others(size, sets, several, each):
    """The growth property: nobody else's split, nobody's place in the order, and few assignments.

    Measured over 300 sets: 0.3 to 2 others on average and 8 at most, whatever the size (benchmarks/growth.py).
    """
    plan = PlanSettings(actions_per_source=each)
    changes = []
    for number in range(sets):
        rows, rng = random_sources(size, several, number)
        before = by_source(assign(rows, plan, number))
        for person in rng.sample(sorted({row["person_id"] for row in rows}), 5):
            after = by_source(assign([row for row in rows if row["person_id"] != person], plan, number))
            assert {source: [split for split, *_ in found] for source, found in after.items()} == {
                source: [split for split, *_ in before[source]] for source in after
            }
            changes.append(sum(len(found - before[source]) for source, found in after.items()))
    assert max(changes) <= max(8, 0.02 * size) * each
    assert sum(changes) / len(changes) <= 4 * each


def by_source(assignments):
    """Return source → its splits, actions and places in the order."""
    found = {}
    for one in assignments:
        found.setdefault(one.source_id, set()).add((one.split, one.action, one.plan_order))
    return found


def test_assignment_depends_on_seed_and_ids_but_not_on_order():
    rows = sources()
    assert assign(rows, PlanSettings(), 1) == assign(rows[::-1], PlanSettings(), 1)
    assert assign(rows, PlanSettings(), 1) != assign(rows, PlanSettings(), 2)


def test_plan_order_is_unique_within_action_and_split_and_later_rounds_follow():
    assignments = assign(sources(people=300), PlanSettings(actions_per_source=3), 1)
    assert len({(one.action, one.split, one.plan_order) for one in assignments}) == len(assignments)
    latest = max(one.plan_order for one in assignments)
    assert latest < plan_order_of("p1#v1", "nod", 1, number=2) < plan_order_of("p1#v1", "nod", 1, number=3) < 2**63


def test_a_driver_more_or_less_changes_the_fakes_it_drives_and_no_others():
    drivers = [{"video_id": f"d{n}", "action": "nod", "person_id": f"d{n}", "status": "ok"} for n in range(8)]
    assignments = assign(sources(people=100, videos=1), PlanSettings(actions=["nod"]), 1)
    chosen = [[choose_driver(one, drivers[:count], 1)["video_id"] for one in assignments] for count in (7, 8)]
    assert all(before == after or after == "d7" for before, after in zip(*chosen, strict=True))
    assert 3 <= chosen[1].count("d7") <= 25


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


def test_disjoint_drivers_are_dealt_to_the_splits_by_person_and_shared_ones_are_not():
    """p3 is a source as well, and drives in the split of their videos."""
    people, disjoint = sources(people=100, videos=1), PlanSettings(actions=["nod"], drivers="disjoint")
    drivers = [
        {"video_id": f"{person}-{take}", "action": "nod", "person_id": person, "status": "ok"}
        for person in ("p3", *(f"d{n}" for n in range(20)))
        for take in range(2)
    ]
    dealt = split_drivers(people, drivers, disjoint, 1)
    assert dealt == split_drivers(reversed(people), reversed(drivers), disjoint, 1)
    assert split_drivers(people, drivers, PlanSettings(), 1) is None
    splits_of = defaultdict(set)
    for one in assign(people, disjoint, 1):
        splits_of[choose_driver(one, drivers, 1, dealt)["person_id"]].add(one.split)
        assert one.person_id != "p3" or dealt["p3"] == one.split
    assert all(found == {dealt[person]} for person, found in splits_of.items())
    assert {split for found in splits_of.values() for split in found} == {"train", "val", "test"}
    test = next(one for one in assign(people, disjoint, 1) if one.split == "test")
    with pytest.raises(Rejected, match="no usable driver for action 'nod' in split test"):
        choose_driver(test, [row for row in drivers if dealt[row["person_id"]] != "test"], 1, dealt)


def test_the_plan_has_a_row_for_every_unusable_source(tmp_path):
    rows = [{"video_id": name, "person_id": name} for name in ("good", "bad", "broken")]
    best = {name: number / 8 if number else 35 for number, name in enumerate(BEST_FRAME.names)}
    write_table(
        [
            {"video_id": "good", "path": "good.mp4", "pixels_sha256": "12", "status": "ok", **best},
            {"video_id": "bad", "status": "rejected", "reason": "no_face", "detail": "0 of 9 frames"},
        ],
        tmp_path / "crop.parquet",
        CROPPED,
    )
    driver = {"video_id": "d", "action": "nod", "person_id": "c", "path": "d.npz", "frames": 40, "status": "ok"}
    write_table([driver], tmp_path / "motion.parquet", MOTIONS)
    assignments = assign(rows, PlanSettings(actions=["nod"]), 1)
    crops, motions = [tmp_path / "crop.parquet"], [tmp_path / "motion.parquet"]
    plan_shard(assignments, crops, motions, tmp_path / "plan.parquet", 1, "v")
    found = {row["source_id"]: row for row in read_rows(tmp_path / "plan.parquet")}
    assert found["good"]["video_id"] == "good@d"
    assert (found["good"]["source_path"], found["good"]["motion_path"], found["good"]["status"]) == (
        "good.mp4",
        "d.npz",
        "ok",
    )
    assert {name: found["good"][name] for name in best} == best
    assert (found["bad"]["status"], found["bad"]["reason"]) == ("rejected", "source_unusable")
    assert "no_face" in found["bad"]["detail"]
    assert (found["broken"]["status"], found["broken"]["detail"]) == ("rejected", "rejected or failed at ingest")

    split = found["good"]["split"]
    for own, reason in ((split, ""), ("val" if split != "val" else "test", "no_driver")):
        plan_shard(assignments, crops, motions, tmp_path / "dealt.parquet", 1, "v", driver_splits={"c": own})
        dealt = {row["source_id"]: row for row in read_rows(tmp_path / "dealt.parquet")}
        assert (dealt["good"]["driver_id"], dealt["good"]["reason"]) == ("d" if not reason else None, reason)
