"""What the simulated vendors share: keys, limits, bills, and the answers that faults bring."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from deepfakemnist.liveness.simulator.faults import FaultPlan, Faults, RateLimit

if TYPE_CHECKING:
    from deepfakemnist.liveness.simulator.witness import Witness

#: What the simulated vendors take as keys; real ones are not wanted here.
KEYS = {"id": "simulator-id", "secret": "simulator-secret"}


@dataclass(frozen=True)
class Contract:
    """What a simulated vendor grants."""

    #: Requests per second and service; None: any.
    qps: float | None = None
    #: Requests per service in all; None: any.
    quota: int | None = None
    #: Life of an access token and of a random code, seconds.
    token_s: int = 2_592_000
    code_s: float = 300.0
    faults: FaultPlan = field(default_factory=FaultPlan)
    #: Baidu's answers: new (error_code), old (err_no) or both, as found in the wild.
    envelope: str = "both"
    #: One JSON line per request is appended here.
    record: Path | None = None


class Books:
    """Counts requests, limits them, and writes down what was billed."""

    def __init__(self, contract: Contract, witness: Witness) -> None:
        self.contract, self.witness = contract, witness
        self.faults = Faults(contract.faults)
        #: (service, what was asked) → times it was billed.
        self.billed: Counter[tuple[str, str]] = Counter()
        self._rates: dict[str, RateLimit] = {}
        self._served: Counter[str] = Counter()
        self._lock = threading.Lock()

    def admits(self, service: str) -> bool:
        """Count a request against the rate of a service; False when it is too much."""
        with self._lock:
            rate = self._rates.setdefault(service, RateLimit(self.contract.qps))
        return rate.allows()

    def has_quota(self, service: str) -> bool:
        """Count a request against the quota of a service; False when that is used up."""
        with self._lock:
            if self.contract.quota is not None and self._served[service] >= self.contract.quota:
                return False
            self._served[service] += 1
            return True

    def bill(self, service: str, data: bytes, about: str = "") -> None:
        """Bill an answer about some bytes."""
        with self._lock:
            self.billed[service, f"{hashlib.sha256(data).hexdigest()} {about}".strip()] += 1

    def note(self, arrived: float, request: Request, fault: str | None, status: int) -> None:
        """Write a request down, with the time it came, seconds since 1970."""
        if self.contract.record:
            line = {"time": arrived, "path": request.path, "fault": fault, "status": status}
            with self._lock, self.contract.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON response."""
    response = Response(json.dumps(value), status=status, mimetype="application/json")
    response.headers.update(headers)
    return response


def broken(fault: str, plan: FaultPlan) -> Response | None:
    """Return the response of a fault that is every vendor's; None when the connection is to be closed without one."""
    if fault == "error":
        return answer({"message": "service unavailable"}, 503, **{"Retry-After": "0.2"})
    if fault == "truncated":
        return Response('{"error_code": 0, "error_msg": "SUC', mimetype="application/json")
    if fault == "envelope":
        return answer({"hello": "world"})
    if fault == "hang":
        time.sleep(plan.hang_s)
    return None
