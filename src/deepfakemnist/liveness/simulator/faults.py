"""Fault injection for the simulated vendors: random faults at a given rate, reproducible by seed."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

#: Faults that replace the service; the upload is not checked and nothing is billed. busy: a transient error code.
#: crowded: rate limit reported although it was kept. token: the token is revoked. error: HTTP 503 with Retry-After.
#: drop: the connection closes without a response. hang: the same after ``hang_s``. truncated: half of a JSON text.
#: envelope: unrelated JSON. timeout, early, too_large: HTTP 408, 425, 413. redirect: HTTP 302 to a URL with the keys.
Unserved = Literal[
    "busy", "crowded", "token", "error", "drop", "hang", "truncated", "envelope", "timeout", "early", "too_large",
    "redirect",
]  # fmt: skip
#: Faults of a response that is billed. slow: it is sent after ``slow_s``. lost: the connection closes instead.
#: gateway: HTTP 502 instead. drip: a byte every ``drip_s``. bomb: it is compressed and expands to 100 MB. mistyped: its
#: values have other types. echo: it repeats the request, keys included, in several encodings.
Served = Literal["slow", "lost", "gateway", "drip", "bomb", "mistyped", "echo"]
Fault = Literal[Unserved, Served]
FAULTS: tuple[Fault, ...] = (*get_args(Unserved), *get_args(Served))
#: Faults after which the same request succeeds and has been billed once; lost responses must be sent again.
PASSING: tuple[Fault, ...] = (
    "busy", "crowded", "token", "error", "drop", "hang", "truncated", "envelope", "timeout", "early", "slow",
)  # fmt: skip


@dataclass(frozen=True)
class FaultPlan:
    """Rate and kinds of injected faults."""

    #: Share of requests with a fault, 0..1.
    share: float = 0.0
    kinds: tuple[Fault, ...] = PASSING
    seed: int = 0
    hang_s: float = 5.0
    slow_s: float = 0.5
    drip_s: float = 0.1


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
