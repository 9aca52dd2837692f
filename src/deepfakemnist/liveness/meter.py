"""Rate limit, daily quota and spending limit of a vendor, enforced by one meter for all jobs that share a folder.

The meter is a small JSON file behind a file lock. The next sender waits for its slot while holding the lock, so that a
process that wakes late delays the others instead of sending together with them; a killed job releases the lock. File
locks work between the processes of a machine, and between machines if the file system supports them (NFS from
version 4, Lustre with ``flock``); elsewhere, give every machine its share of the rate.

Clocks are set while jobs run. On one machine slots are kept by the monotonic clock, which nobody sets; between machines
by the time of day, and no wait is longer than a meter ever asks for. The day of the quota never goes back.
"""

from __future__ import annotations

import datetime
import logging
import math
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deepfakemnist.config.liveness import VendorSettings
from deepfakemnist.liveness.files import DamagedFile, read_json, write_json
from deepfakemnist.tables.locks import locked

log = logging.getLogger(__name__)

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
#: Longest pause that a client asks for; the next slot is never further away than this or the spacing of the rate.
MAX_PAUSE_S = 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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
    #: Earliest time of the next request: seconds since 1970, and on the monotonic clock of ``machine``.
    next_at: float = 0.0
    next_tick: float = 0.0
    machine: str = ""


class Meter:
    """Rate limit, daily quota and spend of one contract.

    Args:
        path: file shared by all jobs.
        settings: qps, daily_quota and max_spend of the provider.
        recover: returns the usage that the ledger proves, where the file is missing or damaged.
        clock, sleep, ticks: time of day, sleep, and monotonic clock; tests inject their own.
    """

    def __init__(
        self,
        path: Path,
        settings: VendorSettings,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        ticks: Callable[[], float] = time.monotonic,
        recover: Callable[[], Usage] = Usage,
    ) -> None:
        self.path = path
        self.settings = settings
        self._clock, self._sleep, self._ticks, self._recover = clock, sleep, ticks, recover
        self._machine = machine_id()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = path.with_name(f".{path.name}.lock")

    def acquire(self, price: float) -> None:
        """Count one request and its price, and wait until it may be sent.

        The price is counted before the request, so that a crash can only overstate the spend, never understate it.

        Raises:
            StopRun: the daily quota is exhausted, or the price would exceed ``max_spend``.
        """
        while True:
            with locked(self._lock, poll_s=_POLL_S):
                usage = self._checked_usage(price)
                wait = self._wait(usage)
                if wait <= _MAX_LOCKED_WAIT_S:
                    self._reserve(usage, price, wait)
                    return
            self._sleep(wait - _MAX_LOCKED_WAIT_S)

    def _wait(self, usage: Usage) -> float:
        """Return the seconds until the next slot, whatever has become of the time of day.

        A slot further away than any that a meter gives is the work of a clock that was set; it is moved, on the
        monotonic clock, so that its time comes.
        """
        same_machine = usage.machine == self._machine
        wait = usage.next_tick - self._ticks() if same_machine else usage.next_at - self._clock()
        longest = max(MAX_PAUSE_S, self._spacing)
        if wait > longest:
            wait = longest
            self._set_next(usage, wait)
            self._write(usage)
        return max(wait, 0.0)

    @property
    def _spacing(self) -> float:
        return _SPACING / self.settings.qps

    def _checked_usage(self, price: float) -> Usage:
        """Return the current usage. Raises StopRun if another request would exceed quota or budget."""
        limits, usage = self.settings, self._read()
        self._begin_day(usage)
        if limits.daily_quota is not None and usage.today >= limits.daily_quota:
            raise StopRun(
                f"{self.path.stem}: the {limits.daily_quota} requests of {usage.day} (daily_quota) are used up. "
                "Rerun the same command after midnight UTC; all answers so far are kept."
            )
        if limits.max_spend is not None and usage.spent + price > limits.max_spend + _MONEY_EPS:
            raise StopRun(
                f"{self.path.stem}: {usage.spent:.2f} is spent, the next request costs {price:g} and max_spend "
                f"is {limits.max_spend:g}. Raise it to continue; all answers so far are kept."
            )
        return usage

    def _begin_day(self, usage: Usage) -> None:
        """Start the count of a new day.

        A clock that steps back must not give a day its quota again, so that the count stays with the later day. It is
        moved to tomorrow at the latest: a clock that was years ahead must not block the quota for years.
        """
        today = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC).date()
        tomorrow = (today + datetime.timedelta(days=1)).isoformat()
        if usage.day < today.isoformat():
            usage.day, usage.today = today.isoformat(), 0
        elif usage.day > tomorrow:
            log.warning("%s counts requests of %s: this machine's clock was ahead, or is behind", self.path, usage.day)
            usage.day = tomorrow
            self._write(usage)  # now, because the quota may stop this request

    def _reserve(self, usage: Usage, price: float, wait: float) -> None:
        """Count a request and wait for its slot. A late wake-up postpones the next slot."""
        due = self._ticks() + wait
        usage.today += 1
        usage.spent += price
        self._set_next(usage, wait + self._spacing)
        self._write(usage)
        self._sleep(max(due - self._ticks(), 0.0))
        if self._ticks() > due + _LATE_S:
            self._set_next(usage, self._spacing)
            self._write(usage)

    def refund(self, price: float) -> None:
        """Refund the price of a request that the vendor did not serve."""
        self._add(spent=-price)

    def mark_in_doubt(self, price: float) -> None:
        """Record ``price`` as in doubt: the vendor may have billed it. It stays counted as spent."""
        self._add(in_doubt=price)

    def pause(self, seconds: float) -> None:
        """Block all jobs for some seconds, at most MAX_PAUSE_S: the vendor reported its rate limit."""
        with locked(self._lock, poll_s=_POLL_S):
            usage = self._read()
            self._set_next(usage, max(self._wait(usage), min(seconds, MAX_PAUSE_S)))
            self._write(usage)

    def read(self) -> Usage:
        """Return the usage so far. Raises StopRun if the file is damaged."""
        try:
            return read_usage_file(self.path)
        except DamagedFile as damage:
            raise StopRun(f"{damage}; the next run recovers it from the answers") from None

    def _read(self) -> Usage:
        """Return the usage so far, from the ledger if the file is missing or damaged. Call it under the lock."""
        try:
            if self.path.exists():
                return read_usage_file(self.path)
        except DamagedFile as damage:
            aside = self.path.with_suffix(".damaged")
            self.path.replace(aside)
            log.warning("%s; moved to %s", damage, aside)
        usage = self._recover()
        if usage.spent or usage.today:
            log.warning(
                "%s: recovered from the answers: %.2f spent, %d requests on %s. Requests that got no answer are not "
                "in it; compare with the vendor's bill", self.path, usage.spent, usage.today, usage.day,
            )  # fmt: skip
        self._write(usage)
        return usage

    def _set_next(self, usage: Usage, seconds: float) -> None:
        usage.next_at, usage.next_tick = self._clock() + seconds, self._ticks() + seconds
        usage.machine = self._machine

    def _add(self, spent: float = 0.0, in_doubt: float = 0.0) -> None:
        if spent or in_doubt:
            with locked(self._lock, poll_s=_POLL_S):
                usage = self._read()
                usage.spent = max(usage.spent + spent, 0.0)
                usage.in_doubt += in_doubt
                self._write(usage)

    def _write(self, usage: Usage) -> None:
        write_json(self.path, asdict(usage))


def read_usage_file(path: Path) -> Usage:
    """Return the usage in a meter's file; none if it does not exist. Raises: DamagedFile."""
    stored = read_json(path)
    if stored is None:
        return Usage()
    known = {field.name: type(field.default) for field in fields(Usage)}
    if not all(name in known and _is(stored[name], known[name]) for name in stored) or "spent" not in stored:
        raise DamagedFile(path)
    return Usage(**stored)


def machine_id() -> str:
    """Return an id of this machine since it booted: processes with the same id share a monotonic clock."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _is(value: Any, kind: type) -> bool:
    """Return whether a stored value is what a meter writes: text, a count, or a finite amount."""
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0 and (kind is float or isinstance(value, int))
