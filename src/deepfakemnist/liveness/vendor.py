"""A liveness service as a provider: asked over HTTP once per clip, remembered for good, decided from what it answered.

The ledger keeps what the vendor answered, not what was made of it: another threshold decides anew and costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.ledger import Ledger
from deepfakemnist.liveness.meter import Meter
from deepfakemnist.liveness.protocol import SILENT, Clip, Exchange, Verdict
from deepfakemnist.tables.schemas import Row

#: Longer texts in an answer are pictures in base64; their hash is kept.
_LONGEST_TEXT = 1000


@dataclass(frozen=True)
class Answer:
    """What a vendor said about a clip, and what that took."""

    #: The JSON object as it came.
    body: dict[str, Any]
    #: Everything that was asked, without keys and with the hash of the upload in its place.
    request: Row
    upload_sha256: str
    upload_bytes: int
    attempts: int
    cost: float
    latency_s: float


class Vendor(Protocol):
    """What differs between services."""

    name: str
    #: Which interface of the service is spoken.
    version: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """Keys and whatever else must not be written anywhere."""

    def motion(self, action: str) -> str:
        """Return the motion that is commanded for ``action``; empty for none."""

    def parameters(self, action: str) -> Row:
        """Return what the answer depends on besides the pixels; JSON values."""

    def ask(self, clip: Clip, action: str) -> Answer:
        """Ask about a clip. Raises Failed, Rejected, StopRun."""

    def price(self, action: str) -> float:
        """Return what asking usually costs."""

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Return the verdict that follows from an answer. Raises Failed where nothing follows."""


class VendorProvider:
    """A vendor with its ledger and its meter."""

    def __init__(self, vendor: Vendor, ledger: Ledger, meter: Meter) -> None:
        self.vendor, self.ledger, self.meter = vendor, ledger, meter
        self.name, self.version = vendor.name, vendor.version

    def asks(self, action: str) -> str:
        """Return the commanded motion, in the vendor's words."""
        return self.vendor.motion(action) or SILENT

    def check(self, clip: Clip, action: str) -> Verdict:
        """Judge a clip: by the kept answer where there is one, else by asking."""
        kept = self.ledger.recall_or_ask(
            clip.pixels_sha256,
            self.vendor.parameters(action),
            ask=lambda: self._ask(clip, action),
            lost=lambda: self.meter.doubt(self.vendor.price(action)),
        )
        verdict = self.vendor.decide(kept["response"], action)
        exchange = Exchange(**{name: kept[name] for name in Exchange.__dataclass_fields__})
        return replace(verdict, exchange=exchange)

    def _ask(self, clip: Clip, action: str) -> Row:
        answer = self.vendor.ask(clip, action)
        body = without_pictures(answer.body)
        request = json.dumps(answer.request, sort_keys=True)
        kept = {
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
            **self._reading(body, action),
        }
        return without_secrets(kept, self.vendor.secrets)

    def _reading(self, body: dict[str, Any], action: str) -> Row:
        """Return what follows from an answer today, for a reader of the ledger. A paid answer is kept in any case."""
        try:
            verdict = self.vendor.decide(body, action)
        except Failed:
            return {"live": None, "score": None, "threshold": None}
        return {"live": verdict.live, "score": verdict.score, "threshold": verdict.threshold}


def without_pictures(value: Any) -> Any:
    """Return a JSON value with its very long texts, pictures in base64, replaced by their sha256."""
    if isinstance(value, dict):
        return {name: without_pictures(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_pictures(one) for one in value]
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
    return value


def without_secrets(value: Any, secrets: tuple[str, ...]) -> Any:
    """Return a JSON value with every secret in its texts blotted out, in case a vendor echoes what it was sent."""
    if isinstance(value, dict):
        return {name: without_secrets(one, secrets) for name, one in value.items()}
    if isinstance(value, list):
        return [without_secrets(one, secrets) for one in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "***")
    return value
