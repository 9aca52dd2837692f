"""Cost estimates and spend of the liveness vendors: cost and duration before a run, ledger totals after it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.config.liveness import BaiduSettings, LivenessSettings, VendorSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.files import DamagedFile
from deepfakemnist.liveness.ledger import read_answers, read_doubts, read_forgotten
from deepfakemnist.liveness.meter import Usage, read_usage_file
from deepfakemnist.liveness.motions import read_motions
from deepfakemnist.liveness.registry import meter_path
from deepfakemnist.tables.schemas import Row

#: Mean number of one-digit codes requested until the wanted one of four comes up, all being equally likely.
EXPECTED_CODES = 4


@dataclass(frozen=True)
class Estimate:
    """Upper bound on cost and duration at one vendor, reached if every clip is sent to it."""

    provider: str
    clips: int
    #: In the contract's currency.
    cost: float
    hours: float
    #: Days needed under the daily quota; None without a quota.
    days: float | None


@dataclass
class LedgerSummary:
    """Totals of one provider's ledger."""

    provider: str
    answers: int = 0
    live: int = 0
    #: Answers without a verdict: the response could not be read, or has an unknown code.
    unreadable: int = 0
    cost: float = 0.0
    attempts: int = 0
    latency_s: float = 0.0
    #: Requests for these answers that were lost before, and may have been billed besides.
    in_doubt: int = 0
    #: Questions that may have been billed and have no answer.
    open_doubts: int = 0


def estimate(settings: LivenessSettings, clips_of: Mapping[str, int]) -> list[Estimate]:
    """Estimate cost and duration at each configured vendor that is sent clips.

    Args:
        settings: the providers.
        clips_of: provider → number of clips, evenly distributed over the actions.

    Raises:
        ConfigError: the motion sheet is unusable.
    """
    estimates = []
    for vendor in settings.providers:
        if isinstance(vendor, VendorSettings) and (clips := clips_of.get(vendor.provider, 0)):
            price, requests = vendor.price, 1.0
            if isinstance(vendor, BaiduSettings):
                motions = read_motions(settings.motions, vendor.provider)
                codes = EXPECTED_CODES * sum(map(bool, motions.values())) / len(motions)
                price += codes * vendor.code_price
                requests += codes
            days = clips * requests / vendor.daily_quota if vendor.daily_quota else None
            hours = clips * requests / vendor.qps / 3600
            estimates.append(Estimate(vendor.provider, clips, clips * price, hours, days))
    return estimates


def describe(estimates: Sequence[Estimate]) -> str:
    """Format estimates as lines for a terminal; empty without vendors."""
    return "\n".join(
        f"liveness: {one.clips} clips at {one.provider} cost up to {one.cost:.2f} and take about {one.hours:.1f} h"
        + (f", {one.days:.1f} days of its daily quota" if one.days is not None else "")
        for one in estimates
    )


def announce(settings: LivenessSettings, clips_of: Mapping[str, int], rounds: bool = False) -> str:
    """Return the cost notice to print before a run starts; empty if it sends no clips to a vendor.

    Args:
        settings: the providers.
        clips_of: provider → number of clips of the jobs that will run.
        rounds: more rounds may follow, whose clips are not known yet.
    """
    lines = describe(estimate(settings, clips_of))
    if not lines:
        return ""
    more = " These are the clips planned so far; later rounds add to the cost." if rounds else ""
    return f"{lines}\nAnswers already in the ledger are not billed again.{more}\n"


def summarize_ledgers(answers: Path) -> list[LedgerSummary]:
    """Return the totals of the ledgers below a folder, one per provider."""
    by_provider: dict[str, LedgerSummary] = {}
    for answer in read_answers(answers):
        one = by_provider.setdefault(answer["provider"], LedgerSummary(answer["provider"]))
        one.answers += 1
        one.live += answer["live"] is True
        one.unreadable += answer["live"] is None
        one.cost += answer["cost"]
        one.attempts += answer["attempts"]
        one.latency_s += answer["latency_s"]
        one.in_doubt += answer["in_doubt"]
    for doubt in read_doubts(answers):
        by_provider.setdefault(doubt["provider"], LedgerSummary(doubt["provider"])).open_doubts += 1
    return [by_provider[name] for name in sorted(by_provider)]


def pass_rates(answers: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (provider, action) → (classified as live, with a verdict), by the verdicts made on arrival."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for answer in read_answers(answers):
        if answer["live"] is not None:
            count = counts[answer["provider"], answer["action"]]
            count[0] += answer["live"] is True
            count[1] += 1
    return {key: (live, total) for key, (live, total) in sorted(counts.items())}


def read_usage(answers: Path, provider: str) -> Usage:
    """Return the metered usage of a provider, including crashed jobs and lost responses.

    Raises: ConfigError for a damaged meter.
    """
    try:
        return read_usage_file(meter_path(answers, provider))
    except DamagedFile as damage:
        raise ConfigError(
            f"{damage}. The next run recovers it from the answers; compare with the vendor's bill"
        ) from None


def recovered_usage(answers: Path, provider: str) -> Usage:
    """Return the usage that the ledger proves: answers, those set aside, and questions out, by price and day."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    usage = Usage(day=today)
    for answer in (*read_answers(answers, provider), *read_forgotten(answers, provider)):
        usage.spent += float(answer.get("cost") or 0.0)
        if str(answer.get("answered_at", "")).startswith(today):
            usage.today += int(answer.get("attempts") or 1)
        # A mark that was set aside has requests and no answer.
        _add_lost(usage, answer.get("lost") or answer.get("requests") or [], today)
    for doubt in read_doubts(answers, provider, in_flight=True):
        _add_lost(usage, doubt["requests"], today)
    return usage


def _add_lost(usage: Usage, requests: Sequence[Row], today: str) -> None:
    for request in requests:
        price = float(request.get("price") or 0.0)
        usage.spent += price
        usage.in_doubt += price
        usage.today += str(request.get("asked_at", "")).startswith(today)
