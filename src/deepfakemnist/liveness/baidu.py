"""Baidu's face liveness: on video, silent or with an action, and on pictures.

Interfaces: /oauth/2.0/token, /rest/2.0/face/v1/faceliveness/{sessioncode,verify}, /rest/2.0/face/v3/faceverify of
aip.baidubce.com, as in the vendor's documentation and its own SDKs. Answers come in an older envelope (err_no, err_msg)
or a newer one (error_code, error_msg); both are understood.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import requests

from deepfakemnist.config.liveness import BaiduPictureSettings, BaiduSettings
from deepfakemnist.errors import Failed
from deepfakemnist.liveness import baidu_codes as codes
from deepfakemnist.liveness.client import Client, Reply, TryAgain
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip, Verdict
from deepfakemnist.liveness.upload import digest_of, encode_clip, encode_picture, evenly_spaced
from deepfakemnist.liveness.vendor import Answer
from deepfakemnist.tables.schemas import Row

_TOKEN = "/oauth/2.0/token"  # noqa: S105  a path
_CODE = "/rest/2.0/face/v1/faceliveness/sessioncode"
_VIDEO = "/rest/2.0/face/v1/faceliveness/verify"
_PICTURES = "/rest/2.0/face/v3/faceverify"
#: A token is renewed this long before it ends.
_TOKEN_MARGIN_S = 60
#: A new token that is refused as well was given for keys that do not open the interface; a few may be bad luck.
_MAX_RENEWALS = 3
#: A session code is spent by a request whose answer was lost; so often another one is drawn.
_MAX_SESSIONS = 5
#: How many codes of one digit are drawn until one of the four fits, when all are equally likely.
_EXPECTED_DRAWS = 4


class _SessionSpent(Failed):
    """The random code was used up by an earlier attempt."""


class BaiduService:
    """Access token and envelope: what both interfaces share."""

    def __init__(self, client: Client, secrets: tuple[str, ...]) -> None:
        self.client = client
        self._api_key, self._secret_key = secrets
        self._token, self._token_until = "", 0.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """Keys and the current token."""
        return tuple(secret for secret in (self._api_key, self._secret_key, self._token) if secret)

    def call(self, path: str, price: float, fits: Callable[[Any], bool], **content: Any) -> Reply:
        """POST to ``path`` with a valid token until it is answered.

        Args:
            path: interface.
            price: of an answer.
            fits: whether the ``result`` of a good answer is what it should be.
            content: body of the request.

        Returns: an answer with code 0, or one that refuses the clip.
        """
        renewals = 0

        def send(session: requests.Session) -> requests.Response:
            return self.client.post(session, path, params={"access_token": self._valid_token()}, **content)

        def understand(body: dict[str, Any]) -> None:
            nonlocal renewals
            code, message = code_and_message(body)
            if code == 0 and fits(body.get("result")):
                return
            if code is None or code == 0:
                raise TryAgain(f"the answer is not Baidu's: {sorted(body)}", in_doubt=True)
            if code in codes.TOKEN and renewals < _MAX_RENEWALS:
                renewals, self._token = renewals + 1, ""
                raise TryAgain(f"the access token ended ({code})", wait_s=0 if renewals == 1 else None)
            self._sort_out(code, message)

        self._valid_token()  # before the first turn is taken, so that fetching it delays no request
        return self.client.call(send, understand, price)

    @staticmethod
    def _sort_out(code: int, message: str) -> None:
        text = f"Baidu answered {code}: {message}"
        if code in codes.REFUSED:
            return
        if code in codes.SESSION:
            raise _SessionSpent("session_spent", text)
        if code in codes.CROWDED | codes.PASSING:
            raise TryAgain(text, crowded=code in codes.CROWDED)
        if code in codes.USED_UP:
            raise StopRun(f"{text}. The contract's requests are used up; run the same command again another day")
        if code in codes.FORBIDDEN | codes.TOKEN:
            raise StopRun(f"{text}. The keys do not open this interface; look at the contract")
        raise Failed("vendor_error", text)

    def _valid_token(self) -> str:
        if not self._token or time.monotonic() > self._token_until:
            reply = self.client.call(self._fetch_token, _check_token, price=0.0)
            self._token = reply.body["access_token"]
            self._token_until = time.monotonic() + reply.body["expires_in"] - _TOKEN_MARGIN_S
        return self._token

    def _fetch_token(self, session: requests.Session) -> requests.Response:
        keys = {
            "grant_type": "client_credentials", "client_id": self._api_key, "client_secret": self._secret_key,
        }  # fmt: skip
        return self.client.post(session, _TOKEN, params=keys)


class BaiduVideo:
    """Video liveness. Live: score above the chosen threshold and, where an action was asked for, the action seen."""

    name, version = "baidu", "faceliveness-v1"

    def __init__(self, settings: BaiduSettings, motions: dict[str, str], service: BaiduService) -> None:
        self.settings, self._motions, self._service = settings, motions, service

    @property
    def secrets(self) -> tuple[str, ...]:
        """Keys and token."""
        return self._service.secrets

    def motion(self, action: str) -> str:
        """Return the digit that is commanded; empty for silent liveness."""
        return self._motions[action]

    def parameters(self, action: str) -> Row:
        """Address, motion and what the clip is encoded to."""
        return {
            "url": self.settings.base_url + _VIDEO,
            "motion": self.motion(action),
            "upload": self.settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Price of the video, and of the usual number of codes where an action is asked for."""
        codes_price = _EXPECTED_DRAWS * self.settings.code_price if self.motion(action) else 0.0
        return self.settings.price + codes_price

    def ask(self, clip: Clip, action: str) -> Answer:
        """Upload the clip; with an action, draw a code that commands it first."""
        upload = encode_clip(clip, self.settings.upload)
        form = {"video_base64": base64.b64encode(upload.data).decode(), "face_field": "spoofing"}
        motion, attempts, draws = self.motion(action), 0, 0
        for _ in range(_MAX_SESSIONS):
            session = {}
            if motion:
                session_id, drawn, requests_sent = self._draw(motion)
                attempts, draws = attempts + requests_sent, draws + drawn
                session = {"type_identify": "action", "session_id": session_id}
            try:
                reply = self._service.call(_VIDEO, self.settings.price, _is_video_result, data={**form, **session})
            except _SessionSpent:
                attempts += 1
                continue
            request = {**self.parameters(action), "face_field": form["face_field"], "upload_sha256": upload.sha256}
            return Answer(
                body=reply.body, request=request, upload_sha256=upload.sha256, upload_bytes=len(upload.data),
                attempts=attempts + reply.attempts, cost=self.settings.price + draws * self.settings.code_price,
                latency_s=reply.latency_s,
            )  # fmt: skip
        raise Failed("session_spent", f"{_MAX_SESSIONS} random codes were spent without an answer")

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Hold the score against the threshold that came with it."""
        return decide_by_threshold(body, "score", self.settings.threshold, needs_action=bool(self.motion(action)))

    def _draw(self, digit: str) -> tuple[str, int, int]:
        """Return a session whose code is ``digit`` alone, how many codes were drawn (Baidu chooses), and requests."""
        attempts = 0
        form = {"type": "1", "min_code_length": "1", "max_code_length": "1"}
        for draw in range(1, self.settings.max_draws + 1):
            reply = self._service.call(_CODE, self.settings.code_price, _is_code_result, data=form)
            attempts += reply.attempts
            if reply.body["result"]["code"] == digit:
                return reply.body["result"]["session_id"], draw, attempts
        raise Failed("no_fitting_code", f"none of {self.settings.max_draws} random codes was {digit} (max_draws)")


class BaiduPicture:
    """Picture liveness on several frames of the clip, in one request; its score is the best frame's."""

    name, version = "baidu-picture", "faceverify-v3"

    def __init__(self, settings: BaiduPictureSettings, service: BaiduService) -> None:
        self.settings, self._service = settings, service

    @property
    def secrets(self) -> tuple[str, ...]:
        """Keys and token."""
        return self._service.secrets

    def motion(self, action: str) -> str:
        """Pictures do not move."""
        return ""

    def parameters(self, action: str) -> Row:
        """Address, number of frames and what they are encoded to."""
        return {
            "url": self.settings.base_url + _PICTURES,
            "frames": self.settings.frames,
            "upload": self.settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Price of one request."""
        return self.settings.price

    def ask(self, clip: Clip, action: str) -> Answer:
        """Send evenly spaced frames."""
        chosen = [clip.frames[index] for index in evenly_spaced(len(clip.frames), self.settings.frames)]
        uploads = [encode_picture(frame, self.settings.upload) for frame in chosen]
        pictures = [
            {"image": base64.b64encode(upload.data).decode(), "image_type": "BASE64", "face_field": "spoofing"}
            for upload in uploads
        ]
        reply = self._service.call(_PICTURES, self.settings.price, _is_picture_result, json=pictures)
        # One hash over all pictures, in their order.
        digest = digest_of([upload.sha256 for upload in uploads])
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": digest}, upload_sha256=digest,
            upload_bytes=sum(len(upload.data) for upload in uploads), attempts=reply.attempts,
            cost=self.settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Hold the score against the threshold that came with it."""
        return decide_by_threshold(body, "face_liveness", self.settings.threshold)


def decide_by_threshold(
    body: dict[str, Any], score_name: str, threshold_name: str, needs_action: bool = False
) -> Verdict:
    """Return the verdict of an answer: the score must exceed the returned threshold of that name.

    Args:
        body: the answer.
        score_name: field of the result with the score.
        threshold_name: which returned threshold counts.
        needs_action: the commanded action must have been seen too.

    Raises:
        Failed: the answer holds no such threshold.
    """
    code, message = code_and_message(body)
    if code:
        reason = codes.REFUSED.get(code, "refused")
        return Verdict(False, evidence={"reason": reason, "error_code": code, "error_msg": message})
    result = body["result"]
    thresholds = result["thresholds"]
    if threshold_name not in thresholds:
        raise Failed("no_threshold", f"Baidu returned thresholds {sorted(thresholds)}, not {threshold_name}")
    score, threshold = float(result[score_name]), float(thresholds[threshold_name])
    evidence = {
        "thresholds": thresholds,
        # Recorded, not judged by: whether the paper's authors had it is not known.
        **{name: result[name] for name in ("spoofing_score", "maxspoofing", "action_verify") if name in result},
    }
    live = score > threshold
    if not live:
        evidence["reason"] = "not_live"
    elif needs_action and result.get("action_verify") != "pass":
        live, evidence["reason"] = False, "action_not_seen"
    return Verdict(live, score, threshold, evidence)


def code_and_message(body: dict[str, Any]) -> tuple[int | None, str]:
    """Return error code and message of either envelope; None where there is neither."""
    for code, message in (("error_code", "error_msg"), ("err_no", "err_msg")):
        if isinstance(body.get(code), int):
            return body[code], str(body.get(message, ""))
    return None, ""


def _check_token(body: dict[str, Any]) -> None:
    if "error" in body:
        # The description says which of the two keys is wrong, and holds neither.
        raise StopRun(f"Baidu gives no access token: {body['error']}: {body.get('error_description', '')}")
    if not isinstance(body.get("access_token"), str) or not isinstance(body.get("expires_in"), int):
        raise TryAgain(f"no access token in the answer: {sorted(body)}")


def _is_video_result(result: Any) -> bool:
    return _is_scored(result, "score")


def _is_picture_result(result: Any) -> bool:
    return _is_scored(result, "face_liveness")


def _is_scored(result: Any, score_name: str) -> bool:
    return (
        isinstance(result, dict)
        and isinstance(result.get(score_name), int | float)
        and isinstance(result.get("thresholds"), dict)
    )


def _is_code_result(result: Any) -> bool:
    return isinstance(result, dict) and all(isinstance(result.get(name), str) for name in ("session_id", "code"))
