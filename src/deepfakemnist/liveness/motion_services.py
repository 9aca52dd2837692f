"""Tianyan (Shumai) and Linkface: services that look for a sequence of motions in a video.

Linkface documents its interface in full. Tianyan's page for the video check is not public; its common envelope and
signature are known from clients of its other interfaces, and its field names point to Linkface's. So every path and
name of Tianyan is a setting, with the likeliest as default.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import requests

from deepfakemnist.config.liveness import LinkfaceSettings, TianyanSettings
from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.liveness.client import Client, TryAgain
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip, Verdict
from deepfakemnist.liveness.upload import encode_clip, encode_picture
from deepfakemnist.liveness.vendor import Answer
from deepfakemnist.tables.schemas import Row

#: Limits of the per-motion scores at each complexity, as Linkface publishes them.
MOTION_LIMITS: tuple[dict[str, float], ...] = (
    {"BLINK": 0.2, "MOUTH": 0.2, "YAW": 0.1, "NOD": 0.2},
    {"BLINK": 0.2, "MOUTH": 0.2, "YAW": 0.1, "NOD": 0.2},
    {"BLINK": 0.5, "MOUTH": 0.5, "YAW": 0.5, "NOD": 0.5},
    {"BLINK": 0.7, "MOUTH": 0.7, "YAW": 0.7, "NOD": 0.7},
)
_LINKFACE_PATH = "/liveness/check_liveness"
#: Shumai's codes: answered; the balance is used up; too many requests, as HTTP has it.
_OK, _NO_BALANCE, _CROWDED = 200, 603, 429


class Tianyan:
    """Form with appid, timestamp and md5 signature; answers in an envelope of code, msg and data."""

    name, version = "tianyan", "shumai-life-check"

    def __init__(
        self, settings: TianyanSettings, motions: dict[str, str], client: Client, secrets: tuple[str, ...]
    ) -> None:
        self.settings, self.secrets = settings, secrets
        self._motions, self._client = motions, client

    def motion(self, action: str) -> str:
        """Return the motions that are commanded; empty for the silent picture check."""
        return self._motions[action]

    def parameters(self, action: str) -> Row:
        """Address, motions, complexity and what the clip is encoded to."""
        settings, motion = self.settings, self.motion(action)
        return {
            "url": settings.base_url + (settings.path if motion else settings.silent_path),
            "motion": motion,
            "complexity": settings.complexity,
            "upload": settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Price of one check."""
        return self.settings.price

    def ask(self, clip: Clip, action: str) -> Answer:
        """Upload the clip and the motions to look for; its middle frame where there are none."""
        settings, motion = self.settings, self.motion(action)
        if motion:
            upload, file = encode_clip(clip, settings.upload), ("video", "clip.mp4", "video/mp4")
            form = {"motions": motion, "complexity": str(settings.complexity)}
        else:
            upload = encode_picture(clip.frames[len(clip.frames) // 2], settings.upload)
            form, file = {}, ("image", "frame.jpg", "image/jpeg")
        path = settings.path if motion else settings.silent_path

        def send(session: requests.Session) -> requests.Response:
            fields = {self._field(name): value for name, value in {**form, **self._signature()}.items()}
            files = {self._field(file[0]): (file[1], upload.data, file[2])}
            return self._client.post(session, path, data=fields, files=files)

        reply = self._client.call(send, self._understand, settings.price)
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": upload.sha256},
            upload_sha256=upload.sha256, upload_bytes=len(upload.data), attempts=reply.attempts,
            cost=settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Live when ``passed``; the score is the least of the motions'."""
        data = body[self._name("data")]
        return decide_by_motions(
            bool(data[self._name("passed")]),
            data.get(self._name("motions")) or [],
            self.settings.complexity,
            self._name("motion"),
            self._name("score"),
        )

    def _signature(self) -> dict[str, str]:
        app_id, secret = self.secrets
        timestamp = str(int(time.time() * 1000))
        # md5 is the vendor's choice.
        sign = hashlib.md5(f"{app_id}&{timestamp}&{secret}".encode(), usedforsecurity=False).hexdigest()
        return {"appid": app_id, "timestamp": timestamp, "sign": sign}

    def _understand(self, body: dict[str, Any]) -> None:
        code, message = body.get(self._name("code")), body.get(self._name("msg"), "")
        if not isinstance(code, int):
            raise TryAgain(f"the answer has no {self._name('code')}: {sorted(body)}", in_doubt=True)
        if code == _OK:
            data = body.get(self._name("data"))
            if not isinstance(data, dict) or self._name("passed") not in data:
                raise TryAgain(f"the answer has no {self._name('data')} with {self._name('passed')}", in_doubt=True)
            return
        text = f"Tianyan answered {code}: {message}"
        if code == _NO_BALANCE:
            raise StopRun(f"{text}. The balance is used up; top it up and run the same command again")
        if code in (401, 403):
            raise StopRun(f"{text}. The keys are refused")
        if code == _CROWDED or 500 <= code < 600:
            raise TryAgain(text, crowded=code == _CROWDED)
        raise Failed("vendor_error", text)

    def _field(self, name: str) -> str:
        return self.settings.fields.get(name, name)

    def _name(self, name: str) -> str:
        return self.settings.answer.get(name, name)


class Linkface:
    """Multipart form with api_id and api_secret; answers with status and result."""

    name, version = "linkface", "check_liveness"

    def __init__(
        self, settings: LinkfaceSettings, motions: dict[str, str], client: Client, secrets: tuple[str, ...]
    ) -> None:
        self.settings, self.secrets = settings, secrets
        self._motions, self._client = motions, client

    def motion(self, action: str) -> str:
        """Return the motions that are commanded. Raises ConfigError where there are none: it knows no silent check."""
        if not self._motions[action]:
            raise ConfigError(
                f"liveness.motions: linkface must be asked for a motion, and the sheet names none for {action!r}; name "
                "one, leave the action out of plan.actions, or linkface out of liveness.providers"
            )
        return self._motions[action]

    def parameters(self, action: str) -> Row:
        """Address, motions, complexity and what the clip is encoded to."""
        return {
            "url": self.settings.base_url + _LINKFACE_PATH,
            "motion": self.motion(action),
            "complexity": self.settings.complexity,
            "upload": self.settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Price of one check."""
        return self.settings.price

    def ask(self, clip: Clip, action: str) -> Answer:
        """Upload the clip and the motions to look for."""
        upload = encode_clip(clip, self.settings.upload)
        api_id, api_secret = self.secrets
        form = {
            "api_id": api_id, "api_secret": api_secret,
            "motions": self.motion(action), "complexity": str(self.settings.complexity),
        }  # fmt: skip
        files = {"liveness_data_file": ("clip.mp4", upload.data, "video/mp4")}

        def send(session: requests.Session) -> requests.Response:
            return self._client.post(session, _LINKFACE_PATH, data=form, files=files)

        reply = self._client.call(send, self._understand, self.settings.price)
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": upload.sha256},
            upload_sha256=upload.sha256, upload_bytes=len(upload.data), attempts=reply.attempts,
            cost=self.settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Live when ``passed``; the score is the least of the motions'."""
        result = body["result"]
        return decide_by_motions(bool(result["passed"]), result.get("motions") or [], self.settings.complexity)

    @staticmethod
    def _understand(body: dict[str, Any]) -> None:
        status = body.get("status")
        if not isinstance(status, str):
            raise TryAgain(f"the answer has no status: {sorted(body)}", in_doubt=True)
        if status != "OK":
            # Its list of statuses is not published beyond OK, so none is known to pass by itself.
            raise Failed("vendor_error", f"Linkface answered {status}: {body.get('reason', '')}")
        if not isinstance(body.get("result"), dict) or "passed" not in body["result"]:
            raise TryAgain("the answer has no result with passed", in_doubt=True)


def decide_by_motions(
    passed: bool, motions: list[Mapping[str, Any]], complexity: int, name: str = "motion", score: str = "score"
) -> Verdict:
    """Return the verdict of a motion check: what the service decided, with the least sure of the motions as score.

    Args:
        passed: the service's decision.
        motions: motion and score of each, where the service told.
        complexity: picks the published limits.
        name, score: fields of a motion.
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
