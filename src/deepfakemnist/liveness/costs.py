"""What liveness will cost, and what it has cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.config.liveness import BaiduSettings, LivenessSettings, VendorSettings
from deepfakemnist.liveness.files import read_json
from deepfakemnist.liveness.ledger import read_answers
from deepfakemnist.liveness.meter import Reading
from deepfakemnist.liveness.motions import read_motions
from deepfakemnist.liveness.registry import meter_path

#: Random codes drawn until one of four digits fits: the mean when all are equally likely.
EXPECTED_DRAWS = 4


@dataclass(frozen=True)
class Estimate:
    """What asking one vendor about some clips takes at most, if every clip reaches it."""

    provider: str
    clips: int
    #: In the contract's currency.
    cost: float
    hours: float
    #: Days that the daily quota stretches it to; None without a quota.
    days: float | None


@dataclass
class Spent:
    """What a ledger holds about one provider."""

    provider: str
    answers: int = 0
    live: int = 0
    cost: float = 0.0
    attempts: int = 0
    latency_s: float = 0.0
    #: Answers for which an earlier job was killed between question and answer.
    in_doubt: int = 0


def estimate(settings: LivenessSettings, clips: int) -> list[Estimate]:
    """Return what each vendor of a config would take for ``clips`` clips, evenly of all actions.

    Raises:
        ConfigError: the sheet of motions is unusable.
    """
    made = []
    for vendor in settings.providers:
        if isinstance(vendor, VendorSettings):
            price, requests = vendor.price, 1.0
            if isinstance(vendor, BaiduSettings):
                motions = read_motions(settings.motions, vendor.provider)
                draws = EXPECTED_DRAWS * sum(map(bool, motions.values())) / len(motions)
                price += draws * vendor.code_price
                requests += draws
            days = clips * requests / vendor.daily_quota if vendor.daily_quota else None
            hours = clips * requests / vendor.qps / 3600
            made.append(Estimate(vendor.provider, clips, clips * price, hours, days))
    return made


def describe(estimates: Sequence[Estimate]) -> str:
    """Return an estimate as lines for a terminal; empty without vendors."""
    return "\n".join(
        f"liveness: {one.clips} clips at {one.provider} cost up to {one.cost:.2f} and take about {one.hours:.1f} h"
        + (f", {one.days:.1f} days of its daily quota" if one.days is not None else "")
        for one in estimates
    )


def announce(settings: LivenessSettings, clips: int, rounds: bool = False) -> str:
    """Return what a run may cost, as lines to print before it starts; empty where nothing is sent.

    Args:
        settings: the providers.
        clips: clips that are known to be judged.
        rounds: they are those of the first round, and others may follow.
    """
    lines = describe(estimate(settings, clips))
    if not lines:
        return ""
    more = " These are the clips of the first round; later rounds cost more." if rounds else ""
    return f"{lines}\nWhat was answered before costs nothing again.{more}\n"


def spent(answers: Path) -> list[Spent]:
    """Return what the ledgers below a folder hold, by provider."""
    by_provider: dict[str, Spent] = {}
    for answer in read_answers(answers):
        one = by_provider.setdefault(answer["provider"], Spent(answer["provider"]))
        one.answers += 1
        one.live += bool(answer["live"])
        one.cost += answer["cost"]
        one.attempts += answer["attempts"]
        one.latency_s += answer["latency_s"]
        one.in_doubt += answer["in_doubt"]
    return [by_provider[name] for name in sorted(by_provider)]


def pass_rates(answers: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (provider, action) → (taken for live, answered), by what was decided when the answers came."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for answer in read_answers(answers):
        count = counts[answer["provider"], answer["action"]]
        count[0] += bool(answer["live"])
        count[1] += 1
    return {key: (live, total) for key, (live, total) in sorted(counts.items())}


def metered(answers: Path, provider: str) -> Reading:
    """Return what the meter of a provider has counted, crashes and lost answers included."""
    return Reading(**(read_json(meter_path(answers, provider)) or {}))
