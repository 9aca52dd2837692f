"""Choice of the fakes in the gallery."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.gallery import Choice, Fake, choose


def fake(name: str, transfer: float | None = None, identity: float | None = None, **more: str) -> Fake:
    given = {"action": "nod", "animator": "fomm", "split": "train", "source_id": "s", "driver_id": "d", **more}
    return Fake(video_id=name, path=f"{name}.mp4", frames=9, transfer=transfer, identity_kept=identity, **given)


def reasons(choices: list[Choice]) -> dict[str, tuple[str, ...]]:
    return {choice.fake.video_id: choice.reasons for choice in choices}


def test_best_and_worst_by_transfer_and_identity_are_chosen_and_none_twice() -> None:
    fakes = [
        fake("weak", 0.5, 0.6), fake("strong", 1.9, 0.2), fake("full", 1.1, 0.5), fake("kept", 0.9, 0.7),
        fake("middle", 0.8, 0.3),
    ]  # fmt: skip
    found = choose(fakes, [fake("out", 0.1, 0.1)])
    assert reasons(found) == {
        "full": ("transfer closest to 1",),  # by ratio: 1.1 is nearer than 0.9
        "out": ("rejected",),
        "weak": ("transfer farthest from 1",),  # 0.5 is farther than 1.9
        "kept": ("identity kept best",),
        "strong": ("identity kept worst",),
    }


def test_a_fake_that_is_extreme_in_two_ways_is_shown_once_for_both() -> None:
    found = choose([fake("a", 1.0, 0.7), fake("b", 0.01, 0.1)], [])
    assert reasons(found) == {
        "a": ("transfer closest to 1", "identity kept best"), "b": ("transfer farthest from 1", "identity kept worst"),
    }  # fmt: skip


def test_a_fake_against_its_driver_is_no_worse_than_one_that_does_not_move() -> None:
    found = reasons(choose([fake("against", -2.0), fake("still", 0.0), fake("full", 1.0)], []))
    assert found["still"] == ("transfer farthest from 1",) and "against" not in found


def test_without_measures_one_accepted_fake_is_shown() -> None:
    assert reasons(choose([fake("b"), fake("a", float("nan"))], [])) == {"a": ("not measured",)}
    assert reasons(choose([fake("a", 1.0, 0.5)], [])) == {"a": ("the only accepted one",)}
    assert choose([], []) == []


def test_a_short_page_has_every_action_and_every_animator_and_rejected_fakes() -> None:
    animators = [f"animator{number}" for number in range(10)]
    cells = list(product(animators, ACTIONS))
    accepted = [
        fake(f"{animator}-{action}-{n}", 0.5 + n / 10, n / 10, action=action, animator=animator)
        for animator, action in cells
        for n in range(5)
    ]
    rejected = [fake(f"{animator}-{action}-out", action=action, animator=animator) for animator, action in cells]
    found = choose(accepted, rejected)
    assert found == choose(list(reversed(accepted)), rejected), "the order of the tables does not count"
    assert len(found) == len(set(reasons(found))) == 300
    first = [choice.fake for choice in found[:20]]
    assert {one.action for one in first} == set(ACTIONS) and {one.animator for one in first} == set(animators)
    assert sum(choice.reasons == ("rejected",) for choice in found[:60]) == 30


def test_with_one_animator_the_best_and_the_rejected_of_all_actions_come_first() -> None:
    accepted = [fake(f"{action}{n}", 1.0 + n, 0.5 - n / 10, action=action) for action in ACTIONS for n in range(3)]
    rejected = [replace(fake("out"), video_id=f"{action}-out", action=action) for action in ACTIONS[:4]]
    texts = [choice.reasons[0] for choice in choose(accepted, rejected)]
    assert sorted(texts[:14]) == ["rejected"] * 4 + ["transfer closest to 1"] * 10
    assert set(texts[14:]) == {"transfer farthest from 1"}
