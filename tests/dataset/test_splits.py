"""Alternative splits: pairs stay together, drivers and folds are disjoint."""

from collections import Counter, defaultdict

from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.dataset.pairs import pair_rows
from deepfakemnist.dataset.splits import add_splits, fold_of_people


def dataset(people=40, actions=("nod", "yaw"), drivers=8, quality="raw"):
    """Two sources per person, one fake of one action each, split by person."""
    rows = []
    for number in range(2 * people):
        person, split = f"p{number // 2}", ("train", "train", "val", "test")[number // 2 % 4]
        shared = {"quality": quality, "split": split, "person_id": person, "source_id": f"s{number}", "frames": 20}
        rows.append({"video_id": f"s{number}", "label": 0, "action": "", "driver_person_id": "", **shared})
        action = actions[number % len(actions)]
        fake = {"video_id": f"s{number}@d", "label": 1, "action": action, "driver_person_id": f"d{number % drivers}"}
        rows.append({**fake, "driver_id": f"{action}-d{number % drivers}", **shared})
    return rows


def test_no_split_separates_a_pair():
    rows = dataset()
    add_splits(rows, PlanSettings(), seed=3, folds=5)
    for column in ("split_paper", "fold"):
        values = defaultdict(set)
        for row in rows:
            values[row["source_id"]].add(row[column])
        assert {len(found) for found in values.values()} == {1}


def test_the_paper_split_has_about_700_150_150_sources_per_action():
    rows = dataset(people=1000)
    add_splits(rows, PlanSettings(), seed=3, folds=5)
    counts = Counter((row["action"], row["split_paper"]) for row in rows if row["label"] == 1)
    for action in ("nod", "yaw"):
        # Four standard deviations of a binomial distribution.
        for split, expected, spread in (("train", 700, 58), ("val", 150, 45), ("test", 150, 45)):
            assert abs(counts[action, split] - expected) <= spread


def test_no_split_moves_when_a_person_is_removed():
    rows, less = dataset(people=100), [row for row in dataset(people=100) if row["person_id"] != "p3"]
    for some in (rows, less):
        add_splits(some, PlanSettings(), seed=3, folds=5)
    for column in ("split_driver", "split_paper", "fold"):
        before = {row["video_id"]: row[column] for row in rows if row["person_id"] != "p3"}
        assert before == {row["video_id"]: row[column] for row in less}


def test_drivers_are_in_one_split_only():
    rows = dataset(drivers=20)
    rows[1]["driver_person_id"] = "p2"  # a source person in val
    add_splits(rows, PlanSettings(val_fraction=0.25, test_fraction=0.25), seed=3, folds=5)
    splits = defaultdict(set)
    for row in rows:
        if row["label"] == 1 and row["split_driver"]:
            assert row["split_driver"] == row["split"]
            splits[row["driver_person_id"]].add(row["split_driver"])
    assert len(splits) > 10
    assert all(len(found) == 1 for found in splits.values())
    assert rows[1]["split_driver"] == ""  # its source is in train
    kept = sum(bool(row["split_driver"]) for row in rows if row["label"] == 1)
    assert 0 < kept < 80
    assert all(row["split_driver"] == row["split"] for row in rows if row["label"] == 0)


def test_drivers_that_the_plan_has_dealt_stay_in_the_split_of_their_fakes():
    rows = dataset(drivers=40)  # one per person, and so in one split each
    add_splits(rows, PlanSettings(drivers="disjoint"), seed=3, folds=5)
    assert all(row["split_driver"] == row["split"] for row in rows)


def test_folds_are_about_even_and_do_not_depend_on_order():
    people = [f"p{number}" for number in range(500)]
    folds = fold_of_people(people, 5, seed=1)
    sizes = Counter(folds.values())
    assert set(sizes) == set(range(5)) and all(64 <= size <= 136 for size in sizes.values())
    assert fold_of_people(reversed(people * 2), 5, seed=1) == folds
    assert fold_of_people(people, 5, seed=2) != folds
    assert set(fold_of_people(people[:5], 5, seed=1).values()) == set(range(5))


def test_pairs_record_whether_the_real_is_in_the_dataset():
    rows = [row for row in dataset(people=2) if row["video_id"] != "s1"]
    rows[0]["frames"] = 21
    pairs = {row["fake_id"]: row for row in pair_rows(rows)}
    assert [(name, pair["same_length"], pair["complete"]) for name, pair in pairs.items()] == [
        ("s0@d", False, True), ("s1@d", None, False), ("s2@d", True, True), ("s3@d", True, True),
    ]  # fmt: skip
