"""Candidate sampling in rounds, a function of ids, seed and verdicts; a hash stands in for liveness."""

from collections import Counter
from dataclasses import replace

import pytest

from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.planning.assignment import NO_DRIVER, SOURCE_UNUSABLE, split_drivers
from deepfakemnist.planning.rounds import (
    FULL,
    MAX_ROUNDS,
    POOL_EMPTY,
    CandidateOutcome,
    apply_quota,
    check_shortfall,
    draw_candidates,
    quota_summary,
    read_candidates,
    read_outcomes,
    shortfall,
    write_candidates,
)  # fmt: skip
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import PLANNED, SELECTED

ACTIONS = ("nod", "yaw", "smile")


def sources(people=40, videos=3):
    return [{"video_id": f"p{p}#v{v}", "person_id": f"p{p}"} for p in range(people) for v in range(videos)]


def drivers(per_action=4):
    return [{"action": action, "person_id": f"d{n}"} for action in ACTIONS for n in range(per_action)]


def settings(**more):
    return PlanSettings(**{"actions": list(ACTIONS), "quota": 20, "max_rounds": 9, **more})


def candidate_id(one):
    return f"{one.source_id}@{one.action}{one.turn}"


def outcomes_of(assignments, passes, before, quota):
    """Return the outcomes of earlier and new candidates, as read from tables; ``passes`` decides which are accepted."""
    status = [
        {
            "video_id": candidate_id(one), "action": one.action, "split": one.split, "plan_order": one.plan_order,
            "status": "ok" if passes(one) else "rejected", "reason": "", "assignment": one,
        }
        for one in (*before, *assignments)
    ]  # fmt: skip
    return [
        CandidateOutcome(
            row["assignment"].source_id, row["action"], row["split"], row["assignment"].round, animated=True,
            accepted=row["status"] == "ok" or row["reason"] == "over_quota", kept=row["status"] == "ok",
            reason="" if row["status"] == "ok" else row["reason"] or "liveness",
        )
        for row in apply_quota(status, quota)
    ]  # fmt: skip


def run(rows, acted, plan, passes, seed=1):
    """Sample rounds until one is empty or ``max_rounds`` is reached; return the rounds and all outcomes."""
    rounds, outcomes, candidates = [], [], []
    while len(rounds) < plan.max_rounds and (more := draw_candidates(rows, acted, plan, seed, outcomes)):
        rounds.append(more)
        outcomes = outcomes_of(more, passes, candidates, plan.quota)
        candidates += more
    return rounds, outcomes


def one_in(share):
    return lambda one: seed_from("verdict", candidate_id(one)) % 1000 < 1000 * share


def test_rounds_continue_until_every_quota_is_met_exactly():
    rounds, outcomes = run(sources(), drivers(), settings(), one_in(0.3))
    assert len(rounds) >= 2
    assert Counter(one.action for one in outcomes if one.kept) == dict.fromkeys(ACTIONS, 20)
    (*_, last) = quota_summary(sources(), drivers(), settings(), 1, outcomes)
    assert (last["wanted"], last["kept"], last["ended"]) == (20, 20, FULL)
    assert not shortfall(quota_summary(sources(), drivers(), settings(), 1, outcomes))


def test_the_first_round_is_sized_by_the_expected_pass_rate_and_the_next_by_the_measured_one():
    rounds, _ = run(sources(), drivers(), settings(quota=10, expected_pass_rate=0.5), lambda one: one.action == "nod")
    # 10 ÷ 0.5, and √(10 × (1 - 0.5)) ÷ 0.5 more.
    assert Counter(one.action for one in rounds[0]) == dict.fromkeys(ACTIONS, 25)
    # Nod is full. No yaw or smile passed: their estimated rate is 2 ÷ 29, but a round has at most 8 candidates per
    # missing fake.
    assert Counter(one.action for one in rounds[1]).keys() <= {"yaw", "smile"}
    assert Counter(one.action for one in rounds[1])["yaw"] > 25
    assert max(Counter(one.action for one in rounds[1]).values()) <= 80


def test_only_actions_that_are_short_get_more_candidates():
    rounds, _ = run(sources(), drivers(), settings(), lambda one: one.action != "yaw" or one_in(0.2)(one))
    assert {one.action for one in rounds[0]} == set(ACTIONS)
    assert all({one.action for one in later} == {"yaw"} for later in rounds[1:])


def test_candidates_are_a_function_of_seed_ids_and_verdicts():
    rows, acted = sources(), drivers()
    rounds, _ = run(rows, acted, settings(), one_in(0.3))
    again, _ = run(rows[::-1], acted[::-1], settings(), one_in(0.3))
    assert rounds == again
    # From the tables of the first round alone, as after a kill.
    first = outcomes_of(rounds[0], one_in(0.3), [], 20)
    assert draw_candidates(rows, acted, settings(), 1, first[::-1]) == rounds[1]
    assert draw_candidates(rows, acted, settings(), 2) != rounds[0]
    assert draw_candidates(rows, acted, settings(max_rounds=3, on_shortfall="fail", reals="of_fakes"), 1) == rounds[0]


def test_no_candidate_repeats_and_no_source_exceeds_its_kept_fakes():
    plan = settings(quota=60, actions_per_source=2)
    rounds, outcomes = run(sources(), drivers(), plan, one_in(0.4))
    candidates = [one for one_round in rounds for one in one_round]
    assert len({candidate_id(one) for one in candidates}) == len(candidates)
    for one_round in rounds:
        assert max(Counter((one.source_id, one.action) for one in one_round).values()) == 1
    assert max(Counter(one.source_id for one in outcomes if one.kept).values()) == 2
    assert max(Counter((one.source_id, one.action) for one in outcomes if one.kept).values()) == 1


def test_a_repeated_source_gets_the_next_driver_and_unused_sources_come_first():
    rounds, _ = run(sources(4, 1), drivers(3), settings(actions=["nod"], quota=4), lambda one: False)
    turns = [sorted(one.turn for one in one_round) for one_round in rounds]
    assert turns == [[0] * 4, [1] * 4, [2] * 4]
    own = [{"action": "nod", "person_id": "p0"}, {"action": "nod", "person_id": "p1"}]
    rounds, _ = run(sources(3, 1), own, settings(actions=["nod"], quota=4), lambda one: False)
    counts = Counter(one.source_id for one_round in rounds for one in one_round)
    assert counts == {"p0#v0": 1, "p1#v0": 1, "p2#v0": 2}, "a person drives themselves only if there is nobody else"


def test_disjoint_drivers_limit_the_candidates_of_a_source_to_the_drivers_of_its_split():
    some, ten = sources(people=12, videos=1), drivers(per_action=10)
    plan = settings(quota=100, max_rounds=30, actions_per_source=3, drivers="disjoint")
    rounds, _ = run(some, ten, plan, lambda one: False)
    dealt = Counter(split_drivers(some, ten, plan, 1).values())
    assert len(dealt) == 3
    tried = Counter((one.source_id, one.action, one.split) for one_round in rounds for one in one_round)
    assert len(tried) == 12 * len(ACTIONS)
    assert all(count == dealt[split] for (_, _, split), count in tried.items())


def test_splits_follow_people_and_are_sampled_in_proportion_with_spill_over():
    rounds, _ = run(sources(people=100), drivers(), settings(), one_in(0.3))
    splits = {}
    for one in (one for one_round in rounds for one in one_round):
        assert splits.setdefault(one.person_id, one.split) == one.split
    for action in ACTIONS:
        counts = Counter(one.split for one in rounds[0] if one.action == action)
        total = sum(counts.values())
        assert total == 47 and abs(counts["val"] - 0.15 * total) < 1 and abs(counts["test"] - 0.15 * total) < 1
    orders = [(one.action, one.split, one.plan_order) for one_round in rounds for one in one_round]
    assert len(set(orders)) == len(orders)
    # No candidate of val or test passes: train supplies all of its sources, then the pool is empty.
    plan = settings(actions=["nod"], quota=8)
    rounds, outcomes = run(sources(10, 1), drivers(9), plan, lambda one: one.split == "train")
    assert Counter(one.split for one in outcomes if one.kept) == {"train": 7}
    assert quota_summary(sources(10, 1), drivers(9), plan, 1, outcomes)[0]["ended"] == POOL_EMPTY


@pytest.mark.parametrize("several", [1, 4])
@pytest.mark.parametrize("people", [100, 400])
def test_a_person_more_or_less_changes_few_other_candidates(people, several):
    """Of the first round, and of the second after the same verdicts."""
    rows, acted, plan = sources(people, several), drivers(), settings(quota=people * several // 8)
    first = draw_candidates(rows, acted, plan, 1)
    outcomes = outcomes_of(first, one_in(0.3), [], plan.quota)
    second = draw_candidates(rows, acted, plan, 1, outcomes)
    assert len(first) > 0.6 * len(rows) and len(second) > 50
    for person in ("p3", "p41", "p77"):
        rest = [row for row in rows if row["person_id"] != person]
        known = [one for one in outcomes if not one.source_id.startswith(f"{person}#")]
        # The second round is larger for want of the person's fakes, by as many as one of them costs.
        for before, earlier, more in ((first, (), several), (second, known, 8 * several)):
            expected = {candidate for candidate in map(_facts, before) if candidate[1] != person}
            after = set(map(_facts, draw_candidates(rest, acted, plan, 1, earlier)))
            assert len(expected - after) <= 8
            assert len(after - expected) <= 8 + more


def _facts(one):
    return one.source_id, one.person_id, one.action, one.split, one.plan_order, one.turn


def test_a_quota_keeps_fakes_of_all_splits_in_proportion():
    rows = [
        {"video_id": f"{split}{n}", "action": "nod", "split": split, "status": "ok", "plan_order": seed_from(split, n)}
        for split, count in (("train", 70), ("val", 20), ("test", 10))
        for n in range(count)
    ]
    kept = {row["video_id"]: row["split"] for row in apply_quota(rows, 50) if row["status"] == "ok"}
    assert Counter(kept.values()) == {"train": 35, "val": 10, "test": 5}
    # The first in plan order, of each split.
    assert all(
        (row["video_id"] in kept) == (row["plan_order"] <= sorted(other["plan_order"] for other in mine)[count - 1])
        for split, count in (("train", 35), ("val", 10), ("test", 5))
        for mine in [[row for row in rows if row["split"] == split]]
        for row in mine
    )
    less = {row["video_id"] for row in apply_quota(rows[1:], 50) if row["status"] == "ok"}
    assert len(kept.keys() - less) <= 2


def test_unusable_sources_and_actions_without_driver_get_no_more_candidates():
    rows = sources(4, 1)
    plan = settings(actions=["nod"], quota=4)
    outcomes = [
        CandidateOutcome(
            "p0#v0", "nod", "train", 1, animated=False, accepted=False, kept=False, reason=SOURCE_UNUSABLE
        ),
        CandidateOutcome("p1#v0", "nod", "train", 1, animated=False, accepted=False, kept=False, reason=NO_DRIVER),
        CandidateOutcome("p2#v0", "nod", "train", 1, animated=True, accepted=True, kept=True, reason=""),
    ]
    assert {one.source_id for one in draw_candidates(rows, drivers(), plan, 1, outcomes)} == {"p3#v0"}
    both = settings(actions=["nod", "yaw"], quota=4)
    pairs = {(one.source_id, one.action) for one in draw_candidates(rows, drivers(), both, 1, outcomes)}
    assert ("p1#v0", "yaw") in pairs, "a source without a driver for one action may have one for another"
    assert {source for source, _ in pairs} == {"p1#v0", "p3#v0"}


def test_a_fake_beyond_the_quota_leaves_its_source_available():
    outcomes = outcomes_of(
        draw_candidates(sources(), drivers(), settings(), 1), lambda one: one.action == "nod", [], 20
    )
    over = {one.source_id for one in outcomes if one.accepted and not one.kept}
    kept = {one.source_id for one in outcomes if one.kept}
    assert (len(over), len(kept)) == (20, 20)
    again = {one.source_id for one in draw_candidates(sources(), drivers(), settings(), 1, outcomes)}
    assert over & again
    assert not kept & again


def test_the_quota_table_gives_the_reason_per_action_and_fail_raises_it():
    plan = settings(quota=30, max_rounds=2)
    _, outcomes = run(sources(), drivers(), plan, lambda one: one.action == "nod")
    rows = {row["action"]: row for row in quota_summary(sources(), drivers(), plan, 1, outcomes)}
    assert [rows[action]["ended"] for action in ACTIONS] == [FULL, MAX_ROUNDS, MAX_ROUNDS]
    assert (rows["nod"]["pass_rate"], rows["yaw"]["pass_rate"], rows["yaw"]["rounds"]) == (1.0, 0.0, 2)
    text = check_shortfall(list(rows.values()), plan)
    assert text.startswith("plan.quota is not met for yaw, smile:\nanimator\taction\twanted\tkept")
    assert "\n\tyaw\t30\t0\t0\t" in text
    with pytest.raises(ConfigError, match=r"(?s)not met for yaw.*Add sources"):
        check_shortfall(list(rows.values()), plan.model_copy(update={"on_shortfall": "fail"}))


def test_outcomes_are_read_from_the_tables(tmp_path):
    shared = {"person_id": "p", "action": "nod", "split": "train", "detail": ""}
    plan = [
        {"video_id": f"{source}@d", "source_id": source, "round": 1, "plan_order": order, **shared,
         "status": "rejected" if source == "unusable" else "ok",
         "reason": SOURCE_UNUSABLE if source == "unusable" else ""}
        for order, source in enumerate(("first", "second", "refused", "unusable", "broken"))
    ]  # fmt: skip
    selected = [
        {**{key: row[key] for key in ("video_id", "source_id", "plan_order", *shared)},
         "status": "rejected" if row["source_id"] == "refused" else "ok",
         "reason": "liveness" if row["source_id"] == "refused" else ""}
        for row in plan[:3]
    ]  # fmt: skip
    write_table(plan, tmp_path / "plan.parquet", PLANNED)
    write_table(selected, tmp_path / "select.parquet", SELECTED)
    outcomes = read_outcomes([tmp_path / "plan.parquet"], [tmp_path / "select.parquet"], 1)
    assert {one.source_id: (one.animated, one.accepted, one.kept, one.reason) for one in outcomes} == {
        "first": (True, True, True, ""),
        "second": (True, True, False, "over_quota"),
        "refused": (True, False, False, "liveness"),
        "unusable": (False, False, False, SOURCE_UNUSABLE),
        "broken": (False, False, False, "not_animated"),
    }
    candidates = draw_candidates(
        sources(), drivers(), settings(), 1, [replace(one, source_id="p1#v1") for one in outcomes]
    )
    write_candidates(candidates, tmp_path / "round2.parquet")
    assert read_candidates(tmp_path / "round2.parquet") == candidates
    assert {one.round for one in candidates} == {2}


def test_rounds_need_a_quota():
    with pytest.raises(ValueError, match="max_rounds is 3, but rounds need a quota; set quota or max_rounds: 1"):
        PlanSettings(max_rounds=3)
