"""What goes wrong at a simulated vendor: at random, as often as asked, the same for the same seed."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

#: busy: a code that says to come back. crowded: refused for the rate though it was kept. token: the token is revoked.
#: error: HTTP 503 with Retry-After. drop: the connection closes without an answer. hang: it does so after ``hang_s``.
#: truncated: half of a JSON text. envelope: JSON of something else. slow: the right answer after ``slow_s``.
Fault = Literal["busy", "crowded", "token", "error", "drop", "hang", "truncated", "envelope", "slow"]
FAULTS: tuple[Fault, ...] = get_args(Fault)


@dataclass(frozen=True)
class FaultPlan:
    """How often which faults happen.

    All but slow happen instead of the service: nothing is looked at, and nothing is billed.
    """

    #: Share of requests with a fault, 0..1.
    share: float = 0.0
    kinds: tuple[Fault, ...] = FAULTS
    seed: int = 0
    hang_s: float = 5.0
    slow_s: float = 0.5


class Faults:
    """Draws the fault of each request."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._random = random.Random(plan.seed)
        self._lock = threading.Lock()

    def draw(self) -> Fault | None:
        """Return the fault of the next request; None for most."""
        with self._lock:
            if self._random.random() >= self.plan.share:
                return None
            return self._random.choice(self.plan.kinds)


class RateLimit:
    """At most so many requests in any second, as a vendor counts them."""

    def __init__(self, qps: float | None) -> None:
        self.qps = qps
        self._times: deque[float] = deque()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Count a request; False when it is one too many."""
        if self.qps is None:
            return True
        with self._lock:
            now = time.monotonic()
            while self._times and now - self._times[0] >= 1.0:
                self._times.popleft()
            if len(self._times) >= self.qps:
                return False
            self._times.append(now)
            return True
