"""Matching of sources to actions: stable, independent of the order of the sources, and balanced."""

from collections import Counter

import pytest

from deepfakemnist.ids import seed_from
from deepfakemnist.planning.matching import Places, action_preferences, balance, match

ACTIONS = ("nod", "yaw", "smile", "up")


def preferences(sources, seed=1):
    rows = [{"video_id": f"s{number}", "person_id": f"s{number}"} for number in range(sources)]
    return action_preferences(rows, ACTIONS, 1, seed)


def rank(source, action):
    return seed_from("rank", source, action)


@pytest.mark.parametrize("seed", range(5))
def test_no_source_and_action_would_rather_have_each_other(seed):
    liked = preferences(30, seed)
    taken = match(liked, dict.fromkeys(liked, 1), {action: Places(6) for action in ACTIONS}, rank)
    members = {action: [source for source in liked if taken[source] == [action]] for action in ACTIONS}
    assert [len(found) for found in members.values()] == [6, 6, 6, 6]
    for source, actions in liked.items():
        better = actions[: actions.index(taken[source][0])] if taken[source] else actions
        for action in better:
            assert max(rank(other, action) for other in members[action]) < rank(source, action)


def test_the_order_of_the_sources_does_not_matter():
    liked = preferences(30)
    backwards = dict(reversed(liked.items()))
    found = [
        match(some, dict.fromkeys(some, 1), {action: Places(5, {"a": 2, "b": 3}) for action in ACTIONS}, rank, group)
        for some in (liked, backwards)
        for group in [{source: "ab"[int(source[1:]) % 3 == 0] for source in liked}]
    ]
    assert found[0] == found[1]


def test_reserved_places_go_to_their_group_first_and_to_others_if_it_leaves_them():
    liked = {f"a{n}": ["nod"] for n in range(9)} | {"b0": ["nod"], "b1": ["nod"]}
    group = {source: source[0] for source in liked}
    worst = {source: n if source[0] == "a" else 100 + n for n, source in enumerate(liked)}
    for reserved, expected in ((1, {"a": 5, "b": 1}), (4, {"a": 4, "b": 2}), (0, {"a": 6})):
        places = {"nod": Places(6, {"b": reserved, "a": 6 - reserved})}
        taken = match(liked, dict.fromkeys(liked, 1), places, lambda source, _: worst[source], group)
        assert Counter(group[source] for source, actions in taken.items() if actions) == expected


@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("sources", [1, 4, 9, 57])
def test_every_source_gets_its_actions_and_none_twice(sources, each):
    for slack in (0.0, 3.0):
        taken = balance(preferences(sources), each, 1, "train", slack)
        assert all(len(actions) == len(set(actions)) == each for actions in taken.values())
        counts = Counter(action for actions in taken.values() for action in actions)
        mean = sources * each / len(ACTIONS)
        if mean >= 1:
            assert len(counts) == len(ACTIONS)
        # Rounding, and the last sources, whose own actions may be all that have places left.
        assert max(counts.values()) <= mean + slack + 2
    assert balance({}, each, 1, "train") == {}
