"""How fast, how often and how dearly a vendor may be asked: one meter for all jobs that share a folder.

The meter is a small JSON file behind a file lock. Whoever is next waits for the moment with the lock in hand, so that a
process that is woken late delays the others instead of meeting them at the vendor's door; a job that is killed while it
waits loses the lock with its life. File locks hold between
processes of a machine, and between machines where the file system passes them on (NFS from version 4, Lustre with
``flock``); elsewhere, give every machine its share of the rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from deepfakemnist.config.liveness import VendorSettings
from deepfakemnist.liveness.files import read_json, write_json

#: Requests are spaced this much wider than the rate asks, so that a window of one second at the vendor's end still
#: holds no more than it may when one request arrives up to 100 ms late, as on a busy machine.
_SPACING = 1.1
#: Longer waits, after a pause, are spent without the lock, so that others can still count what came back.
_WAIT_IN_LINE_S = 1.0
#: A wake-up later than this moves the next moment.
_LATE_S = 0.005
#: File locks are asked again this often.
_POLL_S = 0.002
#: Money is compared to this.
_CENT = 1e-9


class StopRun(BaseException):
    """No further clip can be judged now: quota or budget used up, or keys refused. The run goes on another day.

    Not an Exception, like KeyboardInterrupt: no loop may turn it into a bad row and ask about the next clip.
    """


@dataclass
class Reading:
    """What a meter has counted."""

    #: UTC day of ``today``, and requests sent on it.
    day: str = ""
    today: int = 0
    #: Money counted so far, refusals included; and how much of it for answers that never arrived, so that only the
    #: vendor knows whether they were billed.
    spent: float = 0.0
    in_doubt: float = 0.0
    #: When the next request may go, seconds since 1970.
    next_at: float = 0.0


class Meter:
    """Rate, daily quota and spend of one contract.

    Args:
        path: file that all jobs share.
        settings: qps, daily_quota and max_spend of the provider.
        clock, sleep: real time, unless a test brings its own.
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

    def take(self, price: float) -> None:
        """Count one request and its price, and wait until it may be sent.

        The price is counted before the request, so that a crash can make the count too high, never too low.

        Raises:
            StopRun: the daily quota is used up, or the price would exceed ``max_spend``.
        """
        while True:
            with self._lock:
                reading = self._admit(price)
                wait = reading.next_at - self._clock()
                if wait <= _WAIT_IN_LINE_S:
                    self._go(reading, price, max(wait, 0.0))
                    return
            self._sleep(wait - _WAIT_IN_LINE_S)

    def _admit(self, price: float) -> Reading:
        """Return the current reading. Raises StopRun where another request is one too many."""
        limits, reading = self.settings, self.read()
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        if reading.day != day:
            reading.day, reading.today = day, 0
        if limits.daily_quota is not None and reading.today >= limits.daily_quota:
            raise StopRun(
                f"{self.path.stem}: the {limits.daily_quota} requests of {day} (daily_quota) are used up. "
                "Run the same command after midnight UTC; everything answered so far is kept."
            )
        if limits.max_spend is not None and reading.spent + price > limits.max_spend + _CENT:
            raise StopRun(
                f"{self.path.stem}: {reading.spent:.2f} is spent, the next request costs {price:g} and max_spend "
                f"is {limits.max_spend:g}. Raise it to go on; everything answered so far is kept."
            )
        return reading

    def _go(self, reading: Reading, price: float, wait: float) -> None:
        """Count a request and wait for its moment. A moment that was overslept moves the next one."""
        spacing = _SPACING / self.settings.qps
        due = self._clock() + wait
        reading.today += 1
        reading.spent += price
        reading.next_at = due + spacing
        self._write(reading)
        self._sleep(max(due - self._clock(), 0.0))
        if self._clock() > due + _LATE_S:
            reading.next_at = self._clock() + spacing
            self._write(reading)

    def refund(self, price: float) -> None:
        """Give back the price of a request that the vendor did not serve."""
        self._add(spent=-price)

    def doubt(self, price: float) -> None:
        """Note that nobody knows whether the vendor billed ``price``; it stays counted as spent."""
        self._add(in_doubt=price)

    def pause(self, seconds: float) -> None:
        """Let no job send for some seconds: the vendor said that it is too much."""
        with self._lock:
            reading = self.read()
            reading.next_at = max(reading.next_at, self._clock() + seconds)
            self._write(reading)

    def read(self) -> Reading:
        """Return what has been counted so far."""
        return Reading(**(read_json(self.path) or {}))

    def _add(self, spent: float = 0.0, in_doubt: float = 0.0) -> None:
        if spent or in_doubt:
            with self._lock:
                reading = self.read()
                reading.spent = max(reading.spent + spent, 0.0)
                reading.in_doubt += in_doubt
                self._write(reading)

    def _write(self, reading: Reading) -> None:
        write_json(self.path, asdict(reading))
