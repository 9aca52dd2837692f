"""Liveness vendor as a provider: one billed request per clip, cached in the ledger, verdict derived from the answer.

The ledger stores the vendor's response, not the verdict: a new threshold is applied to it at no cost, and a response
that cannot be read stays there until somebody decides to pay for another.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.ledger import Ledger, Question
from deepfakemnist.liveness.meter import Meter
from deepfakemnist.liveness.protocol import SILENT, Clip, Exchange, Verdict
from deepfakemnist.liveness.redaction import Redactor
from deepfakemnist.liveness.responses import Unreadable
from deepfakemnist.tables.schemas import Row

#: Longer strings in a response are base64 images; only their hash is stored.
_MAX_TEXT_LENGTH = 1000


@dataclass(frozen=True)
class Answer:
    """A vendor's response about a clip, with request, attempts, cost and latency."""

    #: The JSON object as received.
    body: dict[str, Any]
    #: The request without keys, and with the hash of the upload in place of the upload.
    request: Row
    upload_sha256: str
    upload_bytes: int
    attempts: int
    cost: float
    latency_s: float


class Vendor(Protocol):
    """The parts that differ between services."""

    name: str
    #: Endpoint and API version of the service.
    version: str

    #: Knows keys, tokens and anything else that must not be written anywhere.
    redactor: Redactor

    def motion(self, action: str) -> str:
        """Return the motion requested for ``action``; empty for passive liveness."""

    def parameters(self, action: str) -> Row:
        """Return everything besides the pixels that the answer depends on; JSON values."""

    def query(self, clip: Clip, action: str, question: Question) -> Answer:
        """Send a clip to the service, by one question. Raises Failed, Rejected, StopRun."""

    def price(self, action: str) -> float:
        """Return the expected cost of a query."""

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Derive the verdict from a response, strictly.

        Raises:
            Failed: the response determines no verdict. Any other exception means that it cannot be read.
        """


class VendorProvider:
    """A vendor with its ledger and its meter."""

    def __init__(self, vendor: Vendor, ledger: Ledger, meter: Meter) -> None:
        self.vendor, self.ledger, self.meter = vendor, ledger, meter
        self.name, self.version = vendor.name, vendor.version

    def asked_motion(self, action: str) -> str:
        """Return the requested motion, in the vendor's terms."""
        return self.vendor.motion(action) or SILENT

    def check(self, clip: Clip, action: str) -> Verdict:
        """Check a clip by the stored answer, or query the vendor."""
        stored = self.ledger.get_or_request(
            clip.pixels_sha256,
            self.vendor.parameters(action),
            request=lambda question: self._query(clip, action, question),
            on_lost=self.meter.mark_in_doubt,
            about={"video_id": clip.video_id, "action": action},
        )
        try:
            verdict = self.vendor.decide(stored["response"], action)
            exchange = Exchange(**{name: stored[name] for name in Exchange.__dataclass_fields__})
        except Failed as error:
            log_id = f" (vendor's log id {stored['log_id']})" if stored.get("log_id") else ""
            raise Failed(error.reason, f"{error.detail}{log_id}; the answer is kept and not requested again") from None
        except Exception as error:
            raise Unreadable(f"{type(error).__name__} in the stored answer {stored.get('key')}") from error
        return replace(verdict, exchange=exchange)

    def _query(self, clip: Clip, action: str, question: Question) -> Row:
        answer = self.vendor.query(clip, action, question)
        body = strip_images(answer.body)
        request = json.dumps(answer.request, sort_keys=True)
        record = {
            "response": body,
            "request": answer.request,
            "request_sha256": hashlib.sha256(request.encode()).hexdigest(),
            "upload_sha256": answer.upload_sha256,
            "upload_bytes": answer.upload_bytes,
            "attempts": answer.attempts,
            "cost": answer.cost,
            "latency_s": answer.latency_s,
            "answered_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "action": action,
            **self._current_verdict(body, action),
        }
        redacted: Row = self.vendor.redactor.json(record)
        return redacted

    def _current_verdict(self, body: dict[str, Any], action: str) -> Row:
        """Return the verdict under the current settings, for readers of the ledger; a paid answer is always stored."""
        try:
            verdict = self.vendor.decide(body, action)
        except Exception:
            return {"live": None, "score": None, "threshold": None}
        return {"live": verdict.live, "score": verdict.score, "threshold": verdict.threshold}


def strip_images(value: Any) -> Any:
    """Return a JSON value with its very long strings, base64 images, replaced by their sha256."""
    if isinstance(value, dict):
        return {name: strip_images(one) for name, one in value.items()}
    if isinstance(value, list):
        return [strip_images(one) for one in value]
    if isinstance(value, str) and len(value) > _MAX_TEXT_LENGTH:
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return value
