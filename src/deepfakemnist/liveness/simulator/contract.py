"""Contract and account shared by the simulated vendors: keys, rate limit, quota, billing, fault responses."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from werkzeug.wrappers import Request, Response

from deepfakemnist.liveness.simulator.faults import FaultPlan, Faults, RateLimit

if TYPE_CHECKING:
    from deepfakemnist.liveness.simulator.witness import Witness

#: Keys accepted by the simulated vendors; never use real ones here.
KEYS = {"id": "simulator-id", "secret": "simulator-secret"}
_STATUSES = {"timeout": 408, "early": 425, "too_large": 413}


@dataclass(frozen=True)
class Contract:
    """Limits and behaviour of a simulated vendor."""

    #: Requests per second and service; None: unlimited.
    qps: float | None = None
    #: Total requests per service; None: unlimited.
    quota: int | None = None
    #: Lifetime of an access token and of a session code, seconds.
    token_s: int = 2_592_000
    code_s: float = 300.0
    faults: FaultPlan = field(default_factory=FaultPlan)
    #: Envelope of Baidu's responses: new (error_code), old (err_no) or both, as observed in practice.
    envelope: str = "both"
    #: One JSON line per request is appended here.
    record: Path | None = None


class Account:
    """Enforces rate limit and quota and records billed requests."""

    def __init__(self, contract: Contract, witness: Witness) -> None:
        self.contract, self.witness = contract, witness
        self.faults = Faults(contract.faults)
        #: (service, upload hash and check) → number of times billed.
        self.billed: Counter[tuple[str, str]] = Counter()
        self._rates: dict[str, RateLimit] = {}
        self._served: Counter[str] = Counter()
        self._lock = threading.Lock()

    def admit_request(self, service: str) -> bool:
        """Count a request against the rate limit of a service; False if it exceeds the limit."""
        with self._lock:
            rate = self._rates.setdefault(service, RateLimit(self.contract.qps))
        return rate.allows()

    def consume_quota(self, service: str) -> bool:
        """Count a request against the quota of a service; False if the quota is exhausted."""
        with self._lock:
            if self.contract.quota is not None and self._served[service] >= self.contract.quota:
                return False
            self._served[service] += 1
            return True

    def bill(self, service: str, data: bytes, about: str = "") -> None:
        """Bill one response about an upload."""
        with self._lock:
            self.billed[service, f"{hashlib.sha256(data).hexdigest()} {about}".strip()] += 1

    def log_request(self, arrived: float, request: Request, fault: str | None, status: int) -> None:
        """Log a request with its arrival time, seconds since 1970."""
        if self.contract.record:
            line = {"time": arrived, "path": request.path, "fault": fault, "status": status}
            with self._lock, self.contract.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def json_response(value: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON response."""
    response = Response(json.dumps(value), status=status, mimetype="application/json")
    response.headers.update(headers)
    return response


def fault_response(fault: str, plan: FaultPlan) -> Response | None:
    """Return the response of a vendor-independent fault; None to close the connection without a response."""
    if fault in _STATUSES:
        return json_response({"message": fault}, _STATUSES[fault])
    if fault == "error":
        return json_response({"message": "service unavailable"}, 503, **{"Retry-After": "0.2"})
    if fault == "truncated":
        return Response('{"error_code": 0, "error_msg": "SUC', mimetype="application/json")
    if fault == "envelope":
        return json_response({"hello": "world"})
    if fault == "redirect":
        keys = urlencode({"client_id": KEYS["id"], "client_secret": KEYS["secret"]})
        return json_response({"message": f"see {keys}"}, 302, Location=f"http://127.0.0.1:9/?{keys}")
    if fault == "hang":
        time.sleep(plan.hang_s)
    return None


def faulty(response: Response, fault: str | None, request: Request, plan: FaultPlan) -> Response | None:
    """Return the served response as a fault leaves it; None to close the connection without a response."""
    match fault:
        case "lost":
            return None
        case "gateway":
            return json_response({"message": "bad gateway"}, 502)
        case "drip":
            return Response(
                _drip(response.get_data(), plan.drip_s), headers={"Content-Length": str(response.content_length)}
            )
        case "bomb":
            expanded = response.get_data()[:-1] + b" " * 100_000_000 + b"}"
            return Response(gzip.compress(expanded), headers={"Content-Encoding": "gzip"})
        case "mistyped":
            return json_response(_mistyped(response.get_json()))
        case "echo":
            return json_response(_with_echo(response.get_json(), request))
    return response


def _drip(data: bytes, seconds: float) -> Iterator[bytes]:
    for at in range(len(data)):
        time.sleep(seconds)
        yield data[at : at + 1]


def _mistyped(value: Any) -> Any:
    """Return a response whose verdict is in types that are not the documented ones; codes stay as they are."""
    if isinstance(value, dict):
        return {name: one if "code" in name or name == "err_no" else _mistyped(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_mistyped(one) for one in value]
    if isinstance(value, bool):
        return str(value).lower()
    return float("nan") if isinstance(value, float) else value


def _with_echo(value: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return a response that repeats keys and request as they are, percent-encoded, in nested JSON and in base64."""
    keys = {**KEYS, **request.args.to_dict(), **{name: one[:200] for name, one in request.form.items()}}
    plain = json.dumps(keys)
    echoes = {
        **keys,
        "url": request.url,
        "query": urlencode(keys),
        "twice": quote(urlencode(keys)),
        "json": json.dumps(plain),
        "html": html.escape(plain),
        "base64": base64.b64encode(plain.encode()).decode(),
        KEYS["secret"]: "as a name",
    }
    text = " ".join((KEYS["id"], KEYS["secret"], quote(KEYS["secret"])))
    return {**value, "error_msg": text, "msg": text, "reason": text, "echo": echoes}
