"""Rate limit, daily quota and spending limit of a vendor, enforced by one meter for all jobs that share a folder.

The meter is a small JSON file behind a file lock. The next sender waits for its slot while holding the lock, so that a
process that wakes late delays the others instead of sending together with them; a killed job releases the lock. File
locks work between the processes of a machine, and between machines if the file system supports them (NFS from
version 4, Lustre with ``flock``); elsewhere, give every machine its share of the rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from deepfakemnist.config.liveness import VendorSettings
from deepfakemnist.liveness.files import read_json, write_json

#: Requests are spaced this much wider than the rate requires, so that no one-second window at the vendor exceeds it
#: even when a request arrives up to 100 ms late, as on a busy machine.
_SPACING = 1.1
#: Longer waits, after a pause, are spent without the lock, so that other jobs can still record refunds.
_MAX_LOCKED_WAIT_S = 1.0
#: A wake-up later than this postpones the next slot.
_LATE_S = 0.005
#: Polling interval of the file lock.
_POLL_S = 0.002
#: Tolerance when amounts of money are compared.
_MONEY_EPS = 1e-9


class StopRun(BaseException):
    """No further clip can be checked now: quota or budget exhausted, or keys rejected. Rerun to continue later.

    Like KeyboardInterrupt it is no Exception, so that no loop turns it into a failed row and goes on to the next clip.
    """


@dataclass
class Usage:
    """Metered usage of one contract, as stored in the meter's file."""

    #: UTC date, and requests sent on it.
    day: str = ""
    today: int = 0
    #: Spend so far, rejections of clips included; and the part of it for responses that never arrived, so that only
    #: the vendor knows whether they were billed.
    spent: float = 0.0
    in_doubt: float = 0.0
    #: Earliest time of the next request, seconds since 1970.
    next_at: float = 0.0


class Meter:
    """Rate limit, daily quota and spend of one contract.

    Args:
        path: file shared by all jobs.
        settings: qps, daily_quota and max_spend of the provider.
        clock, sleep: real time by default; tests inject their own.
    """

    def __init__(
        self,
        path: Path,
        settings: VendorSettings,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path
        self.settings = settings
        self._clock, self._sleep = clock, sleep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), poll_interval=_POLL_S)

    def acquire(self, price: float) -> None:
        """Count one request and its price, and wait until it may be sent.

        The price is counted before the request, so that a crash can only overstate the spend, never understate it.

        Raises:
            StopRun: the daily quota is exhausted, or the price would exceed ``max_spend``.
        """
        while True:
            with self._lock:
                usage = self._checked_usage(price)
                wait = usage.next_at - self._clock()
                if wait <= _MAX_LOCKED_WAIT_S:
                    self._reserve(usage, price, max(wait, 0.0))
                    return
            self._sleep(wait - _MAX_LOCKED_WAIT_S)

    def _checked_usage(self, price: float) -> Usage:
        """Return the current usage. Raises StopRun if another request would exceed quota or budget."""
        limits, usage = self.settings, self.read()
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        if usage.day != day:
            usage.day, usage.today = day, 0
        if limits.daily_quota is not None and usage.today >= limits.daily_quota:
            raise StopRun(
                f"{self.path.stem}: the {limits.daily_quota} requests of {day} (daily_quota) are used up. "
                "Rerun the same command after midnight UTC; all answers so far are kept."
            )
        if limits.max_spend is not None and usage.spent + price > limits.max_spend + _MONEY_EPS:
            raise StopRun(
                f"{self.path.stem}: {usage.spent:.2f} is spent, the next request costs {price:g} and max_spend "
                f"is {limits.max_spend:g}. Raise it to continue; all answers so far are kept."
            )
        return usage

    def _reserve(self, usage: Usage, price: float, wait: float) -> None:
        """Count a request and wait for its slot. A late wake-up postpones the next slot."""
        spacing = _SPACING / self.settings.qps
        due = self._clock() + wait
        usage.today += 1
        usage.spent += price
        usage.next_at = due + spacing
        self._write(usage)
        self._sleep(max(due - self._clock(), 0.0))
        if self._clock() > due + _LATE_S:
            usage.next_at = self._clock() + spacing
            self._write(usage)

    def refund(self, price: float) -> None:
        """Refund the price of a request that the vendor did not serve."""
        self._add(spent=-price)

    def mark_in_doubt(self, price: float) -> None:
        """Record ``price`` as in doubt: the vendor may have billed it. It stays counted as spent."""
        self._add(in_doubt=price)

    def pause(self, seconds: float) -> None:
        """Block all jobs for some seconds: the vendor reported its rate limit."""
        with self._lock:
            usage = self.read()
            usage.next_at = max(usage.next_at, self._clock() + seconds)
            self._write(usage)

    def read(self) -> Usage:
        """Return the usage so far."""
        return Usage(**(read_json(self.path) or {}))

    def _add(self, spent: float = 0.0, in_doubt: float = 0.0) -> None:
        if spent or in_doubt:
            with self._lock:
                usage = self.read()
                usage.spent = max(usage.spent + spent, 0.0)
                usage.in_doubt += in_doubt
                self._write(usage)

    def _write(self, usage: Usage) -> None:
        write_json(self.path, asdict(usage))
