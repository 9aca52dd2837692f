"""Sources dealt to animators: shares, stability, quotas, and plans that are those of each animator alone."""

from __future__ import annotations

from collections import Counter

import pytest

from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.planning.assignment import assign, split_people
from deepfakemnist.planning.dealing import Plans, deal, quotas
from deepfakemnist.planning.rounds import CandidateOutcome, draw_candidates

ACTIONS = ["nod", "yaw", "smile"]
PLAN = PlanSettings(actions=ACTIONS)
DRIVERS = [
    {"video_id": f"d{n}-{action}", "action": action, "person_id": f"d{n}"} for n in range(4) for action in ACTIONS
]


def animators(*labels: str, **shares: float) -> list:
    return [animator_settings(name="mesh", label=f"mesh-{label}", share=shares.get(label, 1.0)) for label in labels]


def sources(people: int, videos: int = 1) -> list[dict]:
    return [{"video_id": f"p{n}-{v}", "person_id": f"p{n}"} for n in range(people) for v in range(videos)]


def dealt(rows: list[dict], chosen: list) -> dict[str, str]:
    return {row["video_id"]: label for label, mine in deal(rows, chosen, PLAN, 1).items() for row in mine}


def test_every_source_goes_to_one_animator_by_its_share_in_every_split() -> None:
    rows = sources(2000)
    splits = split_people([row["person_id"] for row in rows], PLAN, 1)
    of = dealt(rows, animators("a", "b", a=3))
    assert of.keys() == {row["video_id"] for row in rows}
    for split in ("train", "val", "test"):
        mine = [of[row["video_id"]] for row in rows if splits[row["person_id"]] == split]
        # Places beyond the share are 3 (matching.SLACK); rounding adds one.
        assert abs(mine.count("mesh-a") - 0.75 * len(mine)) <= 4


@pytest.mark.parametrize("people", [4, 9, 16, 24])
def test_few_sources_are_dealt_as_exactly_as_their_number_allows(people: int) -> None:
    rows = sources(people)
    splits = split_people([row["person_id"] for row in rows], PLAN, 1)
    of = dealt(rows, animators("a", "b"))
    for split in ("train", "val", "test"):
        mine = Counter(of[row["video_id"]] for row in rows if splits[row["person_id"]] == split)
        assert abs(mine["mesh-a"] - mine["mesh-b"]) <= 1


def test_an_animator_more_moves_its_share_and_little_between_the_others() -> None:
    rows = sources(1500)
    before, after = dealt(rows, animators("a", "b")), dealt(rows, animators("a", "b", "c"))
    moved = [video for video in before if after[video] not in ("mesh-c", before[video])]
    assert Counter(after.values())["mesh-c"] == pytest.approx(500, abs=15)
    assert len(moved) < 15


def test_nearly_all_sources_that_stay_keep_their_action_when_an_animator_joins() -> None:
    rows = sources(600)

    def planned(*labels: str) -> dict[str, tuple[str, str]]:
        plans = Plans(rows, DRIVERS, animators(*labels), PLAN, 1).assign()
        return {one.source_id: (one.animator, one.action) for part in plans.values() for one in part}

    before, after = planned("a", "b"), planned("a", "b", "c")
    stay = [source for source in before if after[source][0] == before[source][0]]
    same = [source for source in stay if after[source] == before[source]]
    # Of 300 and 1500 sources with ten actions, 93 and 97 % do.
    assert len(same) > 0.9 * len(stay)


def test_a_source_more_moves_hardly_any_other() -> None:
    rows = sources(400)
    before, after = (
        dealt(rows, animators("a", "b")),
        dealt([*rows, {"video_id": "x", "person_id": "x"}], animators("a", "b")),
    )
    assert sum(after[video] != before[video] for video in before) <= 4


def test_one_animator_has_the_plan_of_a_run_with_it_alone() -> None:
    rows = sources(30, 2)
    plans = Plans(rows, DRIVERS, animators("a"), PLAN, 1)
    (planned,) = plans.assign().values()
    alone = assign(rows, PLAN, 1)
    assert [vars(one) | {"animator": ""} for one in planned] == [vars(one) for one in alone]
    assert {one.animator for one in planned} == {"mesh-a"}
    rounds = PLAN.model_copy(update={"quota": 5, "max_rounds": 3})
    drawn = Plans(rows, DRIVERS, animators("a"), rounds, 1).draw()
    assert [vars(one) | {"animator": ""} for one in drawn] == [
        vars(one) for one in draw_candidates(rows, DRIVERS, rounds, 1)
    ]


def test_a_person_is_in_one_split_whatever_the_animator() -> None:
    rows = sources(40, 3)
    splits = split_people([row["person_id"] for row in rows], PLAN, 1)
    planned = [one for part in Plans(rows, DRIVERS, animators("a", "b"), PLAN, 1).assign().values() for one in part]
    assert all(one.split == splits[one.person_id] for one in planned)
    assert {one.animator for one in planned if one.split == "test"} == {"mesh-a", "mesh-b"}


def test_quotas_are_shares_of_the_plans_unless_an_animator_has_its_own() -> None:
    plan = PlanSettings(quota=1000)
    assert quotas(animators("a", "b", "c"), plan) == {"mesh-a": 334, "mesh-b": 333, "mesh-c": 333}
    assert quotas(animators("a", "b", a=3), plan) == {"mesh-a": 750, "mesh-b": 250}
    own = [*animators("a"), animator_settings(name="mesh", label="mesh-b", quota=20)]
    assert quotas(own, plan) == {"mesh-a": 500, "mesh-b": 20}
    assert quotas(own, PlanSettings()) is None


def test_a_round_fills_the_quota_that_an_animator_still_needs_and_numbers_rounds_of_the_run() -> None:
    rows = sources(200)
    plan = PLAN.model_copy(update={"quota": 10, "max_rounds": 3, "expected_pass_rate": 1.0})
    plans = Plans(rows, DRIVERS, animators("a", "b"), plan, 1)
    first = plans.draw()
    assert {one.animator for one in first} == {"mesh-a", "mesh-b"}

    def outcome(one: object, passed: bool) -> CandidateOutcome:
        return CandidateOutcome(
            one.source_id, one.action, one.split, one.round, animated=True, accepted=passed, kept=passed,
            reason="" if passed else "liveness", animator=one.animator,
        )  # fmt: skip

    outcomes = [outcome(one, one.animator == "mesh-a") for one in first]
    second = plans.draw(outcomes)
    assert {(one.animator, one.round) for one in second} == {("mesh-b", 2)}
    summary = plans.summary(outcomes)
    assert [(row["animator"], row["action"], row["wanted"], row["ended"] == "full") for row in summary] == [
        (f"mesh-{label}", action, 5, label == "a") for label in "ab" for action in ACTIONS
    ]
