"""Partition of names by hash: splits and cross-validation folds in which no name moves when others come or go.

A name's part follows from its own hash, so the sizes of the parts are binomial: 15 % of 100 people are 15 ± 4. Exact
sizes need a ranking of all names, in which one name more moves another across each bound. Fewer than a dozen people
are ranked all the same, because there the binomial spread is worse: 15 % of 10 people may be nobody.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping
from itertools import accumulate
from typing import TypeVar

from deepfakemnist.ids import seed_from

Part = TypeVar("Part", bound=Hashable)

#: Upper bound of ``seed_from``.
_HASHES = 2**63
#: Below 12 names, sizes are exact; then bounds may deviate by 1, from 16 names on by 4, and from 20 on by 9, which is
#: four standard deviations and more, so that the hashes alone decide.
_EXACT, _STEP = 8, 4


def partition(names: Iterable[str], shares: Mapping[Part, float], *key: object) -> dict[str, Part]:
    """Assign every name to a part.

    The shares are expectations; below a dozen names, sizes are rounded to them. A set that leaves a part empty gives it
    the name with the nearest hash, which may return to its own part as the set grows.

    Args:
        names: names, in any order; duplicates count once.
        shares: part → expected share of the names, 0..1, which sum to 1; a part with share 0 gets none.
        key: what the hashes depend on besides the name, e.g. the run's seed.

    Returns: name → part. No part is empty if there are as many names as parts.
    """
    hashes = sorted((seed_from(*key, name), name) for name in set(names))
    parts = [part for part, share in shares.items() if share > 0]
    bounds = accumulate(shares[part] for part in parts)
    ends = []
    for bound in bounds:
        exact, slack = round(bound * len(hashes)), max((len(hashes) - _EXACT) // _STEP, 0) ** 2
        end = bisect_left(hashes, (round(bound * _HASHES), ""))
        ends.append(min(max(end, exact - slack), exact + slack))
    ends[-1] = len(hashes)
    if len(hashes) >= len(parts):
        for place in range(len(parts)):
            ends[place] = max(ends[place], ends[place - 1] + 1 if place else 1)
        ends[-1] = len(hashes)
        for place in reversed(range(len(parts) - 1)):
            ends[place] = min(ends[place], ends[place + 1] - 1)
    starts = [0, *ends[:-1]]
    return {name: part for part, start, end in zip(parts, starts, ends, strict=True) for _, name in hashes[start:end]}
