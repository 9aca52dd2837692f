"""Fault injection for the simulated vendors: random faults at a given rate, reproducible by seed."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

#: busy: a transient error code. crowded: rate limit reported although it was kept. token: the token is revoked.
#: error: HTTP 503 with Retry-After. drop: the connection closes without a response. hang: the same after ``hang_s``.
#: truncated: half of a JSON text. envelope: unrelated JSON. slow: the correct response after ``slow_s``.
Fault = Literal["busy", "crowded", "token", "error", "drop", "hang", "truncated", "envelope", "slow"]
FAULTS: tuple[Fault, ...] = get_args(Fault)


@dataclass(frozen=True)
class FaultPlan:
    """Rate and kinds of injected faults.

    Every fault but slow replaces the service: the upload is not checked and nothing is billed.
    """

    #: Share of requests with a fault, 0..1.
    share: float = 0.0
    kinds: tuple[Fault, ...] = FAULTS
    seed: int = 0
    hang_s: float = 5.0
    slow_s: float = 0.5


class Faults:
    """Samples the fault of each request."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._random = random.Random(plan.seed)
        self._lock = threading.Lock()

    def next_fault(self) -> Fault | None:
        """Return the fault of the next request, or None."""
        with self._lock:
            if self._random.random() >= self.plan.share:
                return None
            return self._random.choice(self.plan.kinds)


class RateLimit:
    """Sliding-window rate limit: at most ``qps`` requests in any second."""

    def __init__(self, qps: float | None) -> None:
        self.qps = qps
        self._times: deque[float] = deque()
        self._lock = threading.Lock()

    def allows(self) -> bool:
        """Count a request; False if it exceeds the limit."""
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
