"""Action liveness providers Tianyan (Shumai) and Linkface, which check a video for a sequence of motions.

Linkface documents its API in full. Tianyan's page on the video check is not public; its common envelope and signature
are known from clients of its other endpoints, and its field names suggest that it wraps Linkface. Every path and field
name of Tianyan is therefore a setting that defaults to the most likely value.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import requests

from deepfakemnist.config.liveness import LinkfaceSettings, TianyanSettings
from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.liveness.client import Client
from deepfakemnist.liveness.ledger import Question
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip, Verdict
from deepfakemnist.liveness.responses import Unreadable, integer, mapping, number, objects, printable, shown, truth
from deepfakemnist.liveness.transport import TransientError
from deepfakemnist.liveness.upload import encode_clip, encode_image
from deepfakemnist.liveness.vendor import Answer
from deepfakemnist.tables.schemas import Row

#: Thresholds of the per-motion scores at each complexity, as published by Linkface.
MOTION_LIMITS: tuple[dict[str, float], ...] = (
    {"BLINK": 0.2, "MOUTH": 0.2, "YAW": 0.1, "NOD": 0.2},
    {"BLINK": 0.2, "MOUTH": 0.2, "YAW": 0.1, "NOD": 0.2},
    {"BLINK": 0.5, "MOUTH": 0.5, "YAW": 0.5, "NOD": 0.5},
    {"BLINK": 0.7, "MOUTH": 0.7, "YAW": 0.7, "NOD": 0.7},
)
_LINKFACE_PATH = "/liveness/check_liveness"


class _Meaning(Enum):
    """How a client must react to a code of Tianyan's envelope."""

    ANSWER = "answer"
    RETRY = "retry"
    RATE_LIMITED = "rate limited"
    NO_ACCESS = "no access"
    NO_BALANCE = "no balance"
    REFUSED = "refused"


_OK = 200
#: Code → meaning. 200 and 603 are Shumai's own (Go client cyjaysong/shumaiapi-go, type.go); the others are taken as the
#: HTTP statuses that they look like (RFC 9110, 15; RFC 6585, 4). Every other code may have been billed: it is kept.
_CODES = {
    _OK: _Meaning.ANSWER,
    400: _Meaning.REFUSED,
    401: _Meaning.NO_ACCESS,
    403: _Meaning.NO_ACCESS,
    429: _Meaning.RATE_LIMITED,
    **dict.fromkeys((500, 502, 503, 504), _Meaning.RETRY),
    603: _Meaning.NO_BALANCE,
}


class Tianyan:
    """Multipart form with appid, timestamp and md5 signature; the response envelope has code, msg and data."""

    name, version = "tianyan", "shumai-life-check"

    def __init__(
        self, settings: TianyanSettings, motions: dict[str, str], client: Client, secrets: tuple[str, ...]
    ) -> None:
        self.settings, self._secrets = settings, secrets
        self._motions, self._client = motions, client
        self.redactor = client.redactor

    def motion(self, action: str) -> str:
        """Return the requested motions; empty for the passive image check."""
        return self._motions[action]

    def parameters(self, action: str) -> Row:
        """Return URL, motions, complexity and upload encoding."""
        settings, motion = self.settings, self.motion(action)
        return {
            "url": settings.base_url + (settings.path if motion else settings.silent_path),
            "motion": motion,
            "complexity": settings.complexity,
            "upload": settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Return the price of one check."""
        return self.settings.price

    def query(self, clip: Clip, action: str, question: Question) -> Answer:
        """Upload the clip with the motions to check; without motions, upload its middle frame."""
        settings, motion = self.settings, self.motion(action)
        if motion:
            upload, file = encode_clip(clip, settings.upload), ("video", "clip.mp4", "video/mp4")
            form = {"motions": motion, "complexity": str(settings.complexity)}
        else:
            upload = encode_image(clip.frames[len(clip.frames) // 2], settings.upload)
            form, file = {}, ("image", "frame.jpg", "image/jpeg")
        path = settings.path if motion else settings.silent_path

        def send(session: requests.Session) -> requests.Response:
            fields = {self._form_field(name): value for name, value in {**form, **self._signature()}.items()}
            files = {self._form_field(file[0]): (file[1], upload.data, file[2])}
            return self._client.post(session, path, data=fields, files=files)

        reply = self._client.call(send, self._check_body, settings.price, question)
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": upload.sha256},
            upload_sha256=upload.sha256, upload_bytes=len(upload.data), attempts=reply.attempts,
            cost=settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Live if ``passed``; the score is the lowest of the motions. Raises Unreadable, Failed."""
        code = integer(body.get(self._answer_field("code")))
        if code != _OK:
            raise Failed(
                "vendor_error", f"Tianyan answered {code}: {self._message(body)}, which is in no list of its codes"
            )
        data = mapping(body, self._answer_field("data"))
        return decide_by_motions(
            truth(data, self._answer_field("passed")),
            objects(data, self._answer_field("motions")),
            self.settings.complexity,
            self._answer_field("motion"),
            self._answer_field("score"),
        )

    def _signature(self) -> dict[str, str]:
        app_id, secret = self._secrets
        timestamp = str(int(time.time() * 1000))
        # The vendor requires md5.
        sign = hashlib.md5(f"{app_id}&{timestamp}&{secret}".encode(), usedforsecurity=False).hexdigest()
        return {"appid": app_id, "timestamp": timestamp, "sign": sign}

    def _check_body(self, body: dict[str, Any]) -> None:
        code = integer(body.get(self._answer_field("code")))
        if code is None:
            raise TransientError(
                f"the response has no {self._answer_field('code')}, keys {printable(sorted(body))}", in_doubt=True
            )
        text = f"Tianyan answered {code}: {self._message(body)}"
        match _CODES.get(code, _Meaning.ANSWER):
            case _Meaning.NO_BALANCE:
                raise StopRun(f"{text}. The balance is exhausted; top it up and rerun the same command")
            case _Meaning.NO_ACCESS:
                raise StopRun(f"{text}. The keys were rejected, or this machine's clock is wrong")
            case _Meaning.RETRY | _Meaning.RATE_LIMITED as meaning:
                raise TransientError(text, rate_limited=meaning is _Meaning.RATE_LIMITED)
            case _Meaning.REFUSED:
                raise Failed("vendor_error", text)

    def _message(self, body: dict[str, Any]) -> str:
        return printable(body.get(self._answer_field("msg"), ""))

    def _form_field(self, name: str) -> str:
        return self.settings.fields.get(name, name)

    def _answer_field(self, name: str) -> str:
        return self.settings.answer.get(name, name)


class Linkface:
    """Multipart form with api_id and api_secret; the response has status and result."""

    name, version = "linkface", "check_liveness"

    def __init__(
        self, settings: LinkfaceSettings, motions: dict[str, str], client: Client, secrets: tuple[str, ...]
    ) -> None:
        self.settings, self._secrets = settings, secrets
        self._motions, self._client = motions, client
        self.redactor = client.redactor

    def motion(self, action: str) -> str:
        """Return the requested motions. Raises ConfigError if there are none, as Linkface has no passive check."""
        if not self._motions[action]:
            raise ConfigError(
                f"liveness.motions: linkface needs a motion, but the sheet has none for {action!r}; add one, or remove "
                "the action from plan.actions or linkface from liveness.providers"
            )
        return self._motions[action]

    def parameters(self, action: str) -> Row:
        """Return URL, motions, complexity and upload encoding."""
        return {
            "url": self.settings.base_url + _LINKFACE_PATH,
            "motion": self.motion(action),
            "complexity": self.settings.complexity,
            "upload": self.settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Return the price of one check."""
        return self.settings.price

    def query(self, clip: Clip, action: str, question: Question) -> Answer:
        """Upload the clip with the motions to check."""
        upload = encode_clip(clip, self.settings.upload)
        api_id, api_secret = self._secrets
        form = {
            "api_id": api_id, "api_secret": api_secret,
            "motions": self.motion(action), "complexity": str(self.settings.complexity),
        }  # fmt: skip
        files = {"liveness_data_file": ("clip.mp4", upload.data, "video/mp4")}

        def send(session: requests.Session) -> requests.Response:
            return self._client.post(session, _LINKFACE_PATH, data=form, files=files)

        reply = self._client.call(send, self._check_body, self.settings.price, question)
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": upload.sha256},
            upload_sha256=upload.sha256, upload_bytes=len(upload.data), attempts=reply.attempts,
            cost=self.settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Live if ``passed``; the score is the lowest of the motions. Raises Unreadable, Failed."""
        if body.get("status") != "OK":
            raise Failed(
                "vendor_error",
                f"Linkface answered {printable(body.get('status'))}: {printable(body.get('reason', ''))}",
            )
        result = mapping(body, "result")
        return decide_by_motions(truth(result, "passed"), objects(result, "motions"), self.settings.complexity)

    @staticmethod
    def _check_body(body: dict[str, Any]) -> None:
        # No status besides OK is published, so none is known to be transient or free: each is kept as the answer.
        if not isinstance(body.get("status"), str):
            raise TransientError(f"the response has no status, keys {printable(sorted(body))}", in_doubt=True)


def decide_by_motions(
    passed: bool, motions: Sequence[Mapping[str, Any]], complexity: int, name: str = "motion", score: str = "score"
) -> Verdict:
    """Return the verdict of a motion check: the service's decision, with the lowest motion score as score.

    Args:
        passed: the service's decision.
        motions: name and score of each motion, where the service returned them.
        complexity: selects the published thresholds.
        name, score: field names within a motion.

    Raises:
        Unreadable: a score is no number from 0 to 1, or a motion's own ``passed`` contradicts the service's decision.
    """
    evidence: dict[str, Any] = {"motions": [dict(motion) for motion in motions]}
    scored = {number(motion, score): motion for motion in motions if motion.get(score) is not None}
    if passed and any(motion.get("passed", True) is not True for motion in motions):
        raise Unreadable(f"passed is true, and so is not that of every motion: {shown(evidence['motions'])}")
    if not passed:
        evidence["reason"] = "action_not_seen" if motions else "not_live"
    if not scored:
        return Verdict(passed, evidence=evidence)
    least = min(scored)
    return Verdict(passed, least, MOTION_LIMITS[complexity].get(str(scored[least].get(name))), evidence)
