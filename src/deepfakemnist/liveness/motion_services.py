"""Action liveness providers Tianyan (Shumai) and Linkface, which check a video for a sequence of motions.

Linkface documents its API in full. Tianyan's page on the video check is not public; its common envelope and signature
are known from clients of its other endpoints, and its field names suggest that it wraps Linkface. Every path and field
name of Tianyan is therefore a setting that defaults to the most likely value.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import requests

from deepfakemnist.config.liveness import LinkfaceSettings, TianyanSettings
from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.liveness.client import Client, TransientError
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip, Verdict
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
#: Shumai's codes: success; balance exhausted; too many requests, as in HTTP.
_OK, _NO_BALANCE, _RATE_LIMITED = 200, 603, 429


class Tianyan:
    """Multipart form with appid, timestamp and md5 signature; the response envelope has code, msg and data."""

    name, version = "tianyan", "shumai-life-check"

    def __init__(
        self, settings: TianyanSettings, motions: dict[str, str], client: Client, secrets: tuple[str, ...]
    ) -> None:
        self.settings, self.secrets = settings, secrets
        self._motions, self._client = motions, client

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

    def query(self, clip: Clip, action: str) -> Answer:
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

        reply = self._client.call(send, self._check_body, settings.price)
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": upload.sha256},
            upload_sha256=upload.sha256, upload_bytes=len(upload.data), attempts=reply.attempts,
            cost=settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Live if ``passed``; the score is the lowest of the motions."""
        data = body[self._answer_field("data")]
        return decide_by_motions(
            bool(data[self._answer_field("passed")]),
            data.get(self._answer_field("motions")) or [],
            self.settings.complexity,
            self._answer_field("motion"),
            self._answer_field("score"),
        )

    def _signature(self) -> dict[str, str]:
        app_id, secret = self.secrets
        timestamp = str(int(time.time() * 1000))
        # The vendor requires md5.
        sign = hashlib.md5(f"{app_id}&{timestamp}&{secret}".encode(), usedforsecurity=False).hexdigest()
        return {"appid": app_id, "timestamp": timestamp, "sign": sign}

    def _check_body(self, body: dict[str, Any]) -> None:
        code, message = body.get(self._answer_field("code")), body.get(self._answer_field("msg"), "")
        if not isinstance(code, int):
            missing = self._answer_field("code")
            raise TransientError(f"the response has no {missing}, keys {sorted(body)}", in_doubt=True)
        if code == _OK:
            data = body.get(self._answer_field("data"))
            if not isinstance(data, dict) or self._answer_field("passed") not in data:
                missing = f"{self._answer_field('data')}.{self._answer_field('passed')}"
                raise TransientError(f"the response has no {missing}", in_doubt=True)
            return
        text = f"Tianyan answered {code}: {message}"
        if code == _NO_BALANCE:
            raise StopRun(f"{text}. The balance is exhausted; top it up and rerun the same command")
        if code in (401, 403):
            raise StopRun(f"{text}. The keys were rejected")
        if code == _RATE_LIMITED or 500 <= code < 600:
            raise TransientError(text, rate_limited=code == _RATE_LIMITED)
        raise Failed("vendor_error", text)

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
        self.settings, self.secrets = settings, secrets
        self._motions, self._client = motions, client

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

    def query(self, clip: Clip, action: str) -> Answer:
        """Upload the clip with the motions to check."""
        upload = encode_clip(clip, self.settings.upload)
        api_id, api_secret = self.secrets
        form = {
            "api_id": api_id, "api_secret": api_secret,
            "motions": self.motion(action), "complexity": str(self.settings.complexity),
        }  # fmt: skip
        files = {"liveness_data_file": ("clip.mp4", upload.data, "video/mp4")}

        def send(session: requests.Session) -> requests.Response:
            return self._client.post(session, _LINKFACE_PATH, data=form, files=files)

        reply = self._client.call(send, self._check_body, self.settings.price)
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": upload.sha256},
            upload_sha256=upload.sha256, upload_bytes=len(upload.data), attempts=reply.attempts,
            cost=self.settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Live if ``passed``; the score is the lowest of the motions."""
        result = body["result"]
        return decide_by_motions(bool(result["passed"]), result.get("motions") or [], self.settings.complexity)

    @staticmethod
    def _check_body(body: dict[str, Any]) -> None:
        status = body.get("status")
        if not isinstance(status, str):
            raise TransientError(f"the response has no status, keys {sorted(body)}", in_doubt=True)
        if status != "OK":
            # No status besides OK is published, so none is known to be transient.
            raise Failed("vendor_error", f"Linkface answered {status}: {body.get('reason', '')}")
        if not isinstance(body.get("result"), dict) or "passed" not in body["result"]:
            raise TransientError("the response has no result.passed", in_doubt=True)


def decide_by_motions(
    passed: bool, motions: list[Mapping[str, Any]], complexity: int, name: str = "motion", score: str = "score"
) -> Verdict:
    """Return the verdict of a motion check: the service's decision, with the lowest motion score as score.

    Args:
        passed: the service's decision.
        motions: name and score of each motion, where the service returned them.
        complexity: selects the published thresholds.
        name, score: field names within a motion.
    """
    evidence: dict[str, Any] = {"motions": [dict(motion) for motion in motions]}
    if not passed:
        evidence["reason"] = "action_not_seen" if motions else "not_live"
    scored = [motion for motion in motions if isinstance(motion.get(score), int | float)]
    if not scored:
        return Verdict(passed, evidence=evidence)
    least = min(scored, key=lambda motion: motion[score])
    limit = MOTION_LIMITS[complexity].get(str(least.get(name)))
    return Verdict(passed, float(least[score]), limit, evidence)
