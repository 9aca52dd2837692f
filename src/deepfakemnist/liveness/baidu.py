"""Baidu face liveness providers: passive (silent) and action liveness on video, passive liveness on images.

Endpoints: /oauth/2.0/token, /rest/2.0/face/v1/faceliveness/{sessioncode,verify}, /rest/2.0/face/v3/faceverify of
aip.baidubce.com, as in the vendor's documentation and its own SDKs. Responses use an older envelope (err_no, err_msg)
or a newer one (error_code, error_msg); both are accepted.
"""

from __future__ import annotations

import base64
import time
from typing import Any, NoReturn

import requests

from deepfakemnist.config.liveness import BaiduPictureSettings, BaiduSettings
from deepfakemnist.errors import Failed
from deepfakemnist.liveness.baidu_codes import CODES, Meaning
from deepfakemnist.liveness.client import Client, Reply
from deepfakemnist.liveness.ledger import Question
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip, Verdict
from deepfakemnist.liveness.responses import Unreadable, integer, mapping, number, printable, shown
from deepfakemnist.liveness.transport import TransientError
from deepfakemnist.liveness.upload import combined_sha256, encode_clip, encode_image, evenly_spaced
from deepfakemnist.liveness.vendor import Answer
from deepfakemnist.tables.schemas import Row

_TOKEN = "/oauth/2.0/token"  # noqa: S105  a path
_CODE = "/rest/2.0/face/v1/faceliveness/sessioncode"
_VIDEO = "/rest/2.0/face/v1/faceliveness/verify"
_IMAGES = "/rest/2.0/face/v3/faceverify"
#: Documented life of a token, and how long before its end it is renewed.
_TOKEN_LIFE_S = 2_592_000
_TOKEN_MARGIN_S = 60
#: If new tokens are rejected as well, the keys lack access to the endpoint; a few rejections may be transient.
_MAX_RENEWALS = 3
#: A request whose response is lost still consumes its session code. At most so many sessions are opened per clip.
_MAX_SESSIONS = 5
#: Mean number of one-digit codes requested until the wanted one of four comes up, all being equally likely.
_EXPECTED_CODES = 4


class _SessionConsumed(Failed):
    """An earlier attempt consumed the session code."""


class BaiduService:
    """Access token and response envelope, shared by the video and the image endpoint."""

    def __init__(self, client: Client, secrets: tuple[str, ...]) -> None:
        self.client = client
        self.redactor = client.redactor
        self._api_key, self._secret_key = secrets
        self._token, self._token_until = "", 0.0

    def call(self, path: str, price: float, question: Question | None = None, **content: Any) -> Reply:
        """POST to ``path`` with a valid token, retrying until a final response arrives.

        Args:
            path: endpoint.
            price: price of a response.
            question: the question that is billed; None for a session code.
            content: request body.

        Returns: a response without an error code that the table knows to be no answer.
        """
        renewals = 0

        def send(session: requests.Session) -> requests.Response:
            return self.client.post(session, path, params={"access_token": self._valid_token()}, **content)

        def check_body(body: dict[str, Any]) -> None:
            nonlocal renewals
            code, message = code_and_message(body)
            if code is None:
                raise TransientError(f"unexpected response format, keys {printable(sorted(body))}", in_doubt=True)
            if code == 0:
                if question is None and not _is_code_result(body.get("result")):
                    raise TransientError("the response holds no session code", in_doubt=True)
                return
            meaning = CODES[code].meaning if code in CODES else Meaning.REJECTED
            text = f"Baidu answered {code}: {message}"
            if meaning is Meaning.NEW_TOKEN and renewals < _MAX_RENEWALS:
                renewals, self._token = renewals + 1, ""
                raise TransientError(f"{text}; fetching a new token", wait_s=0 if renewals == 1 else None)
            if meaning is not Meaning.REJECTED or question is None:
                _raise_for_code(meaning, text)

        if question is None or question.received is None:
            self._valid_token()  # before the meter grants a slot, so that fetching it delays no request
        return self.client.call(send, check_body, price, question)

    def _valid_token(self) -> str:
        if not self._token or time.monotonic() > self._token_until:
            reply = self.client.call(self._fetch_token, self._check_token, price=0.0)
            self._token = reply.body["access_token"]
            # The monotonic clock: a clock that is set changes no token's life.
            self._token_until = time.monotonic() + min(reply.body["expires_in"], _TOKEN_LIFE_S) - _TOKEN_MARGIN_S
        return self._token

    def _fetch_token(self, session: requests.Session) -> requests.Response:
        keys = {
            "grant_type": "client_credentials", "client_id": self._api_key, "client_secret": self._secret_key,
        }  # fmt: skip
        return self.client.post(session, _TOKEN, params=keys)

    def _check_token(self, body: dict[str, Any]) -> None:
        if "error" in body:
            # The description says which of the two keys is wrong.
            raise StopRun(
                f"Baidu issued no access token: {printable(body['error'])}: "
                f"{printable(body.get('error_description', ''))}"
            )
        token = body.get("access_token")
        if not isinstance(token, str) or not token or (integer(body.get("expires_in")) or 0) <= 0:
            raise TransientError(f"no access token in the response, keys {printable(sorted(body))}")
        self.redactor.add(token)


class BaiduVideo:
    """Video liveness. Live: the score exceeds the chosen threshold and the requested action, if any, was detected."""

    name, version = "baidu", "faceliveness-v1"

    def __init__(self, settings: BaiduSettings, motions: dict[str, str], service: BaiduService) -> None:
        self.settings, self._motions, self._service = settings, motions, service
        self.redactor = service.redactor

    def motion(self, action: str) -> str:
        """Return the digit of the requested motion; empty for passive liveness."""
        return self._motions[action]

    def parameters(self, action: str) -> Row:
        """Return URL, motion and upload encoding."""
        return {
            "url": self.settings.base_url + _VIDEO,
            "motion": self.motion(action),
            "upload": self.settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Return the price of the video, plus that of the expected number of codes for an action."""
        codes_price = _EXPECTED_CODES * self.settings.code_price if self.motion(action) else 0.0
        return self.settings.price + codes_price

    def query(self, clip: Clip, action: str, question: Question) -> Answer:
        """Upload the clip; for an action, first request a session code that stands for it."""
        upload = encode_clip(clip, self.settings.upload)
        form = {"video_base64": base64.b64encode(upload.data).decode(), "face_field": "spoofing"}
        motion, attempts, codes_used = self.motion(action), 0, 0
        for _ in range(_MAX_SESSIONS):
            session = {}
            if motion and question.received is None:
                session_id, codes_requested, requests_sent = self._request_code(motion)
                attempts, codes_used = attempts + requests_sent, codes_used + codes_requested
                session = {"type_identify": "action", "session_id": session_id}
            try:
                reply = self._service.call(_VIDEO, self.settings.price, question, data={**form, **session})
            except _SessionConsumed:
                attempts += 1
                continue
            request = {**self.parameters(action), "face_field": form["face_field"], "upload_sha256": upload.sha256}
            return Answer(
                body=reply.body, request=request, upload_sha256=upload.sha256, upload_bytes=len(upload.data),
                attempts=attempts + reply.attempts, cost=self.settings.price + codes_used * self.settings.code_price,
                latency_s=reply.latency_s,
            )  # fmt: skip
        raise Failed("session_spent", f"{_MAX_SESSIONS} session codes were consumed without a response")

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Compare the score with the returned threshold and require the requested action."""
        return decide_by_threshold(body, "score", self.settings.threshold, needs_action=bool(self.motion(action)))

    def _request_code(self, digit: str) -> tuple[str, int, int]:
        """Request random codes until one is ``digit`` alone; return its session, the codes and the requests used."""
        attempts = 0
        form = {"type": "1", "min_code_length": "1", "max_code_length": "1"}
        for count in range(1, self.settings.max_draws + 1):
            reply = self._service.call(_CODE, self.settings.code_price, data=form)
            attempts += reply.attempts
            if reply.body["result"]["code"] == digit:
                return reply.body["result"]["session_id"], count, attempts
        raise Failed("no_fitting_code", f"none of {self.settings.max_draws} session codes was {digit} (max_draws)")


class BaiduPicture:
    """Image liveness on several frames of the clip in one request; the score is that of the best frame."""

    name, version = "baidu-picture", "faceverify-v3"

    def __init__(self, settings: BaiduPictureSettings, service: BaiduService) -> None:
        self.settings, self._service = settings, service
        self.redactor = service.redactor

    def motion(self, action: str) -> str:
        """Return an empty string: image liveness is passive."""
        return ""

    def parameters(self, action: str) -> Row:
        """Return URL, number of frames and upload encoding."""
        return {
            "url": self.settings.base_url + _IMAGES,
            "frames": self.settings.frames,
            "upload": self.settings.upload.model_dump(),
        }

    def price(self, action: str) -> float:
        """Return the price of one request."""
        return self.settings.price

    def query(self, clip: Clip, action: str, question: Question) -> Answer:
        """Send evenly spaced frames."""
        chosen = [clip.frames[index] for index in evenly_spaced(len(clip.frames), self.settings.frames)]
        uploads = [encode_image(frame, self.settings.upload) for frame in chosen]
        images = [
            {"image": base64.b64encode(upload.data).decode(), "image_type": "BASE64", "face_field": "spoofing"}
            for upload in uploads
        ]
        reply = self._service.call(_IMAGES, self.settings.price, question, json=images)
        # One hash over all images, in order.
        digest = combined_sha256([upload.sha256 for upload in uploads])
        return Answer(
            body=reply.body, request={**self.parameters(action), "upload_sha256": digest}, upload_sha256=digest,
            upload_bytes=sum(len(upload.data) for upload in uploads), attempts=reply.attempts,
            cost=self.settings.price, latency_s=reply.latency_s,
        )  # fmt: skip

    def decide(self, body: dict[str, Any], action: str) -> Verdict:
        """Compare the score with the returned threshold."""
        return decide_by_threshold(body, "face_liveness", self.settings.threshold)


def decide_by_threshold(
    body: dict[str, Any], score_name: str, threshold_name: str, needs_action: bool = False
) -> Verdict:
    """Return the verdict of a response: live when the score exceeds the returned threshold ``threshold_name``.

    Args:
        body: the response.
        score_name: field of the result that holds the score.
        threshold_name: returned threshold to apply, named by its false rejection rate (FRR; BPCER in ISO/IEC 30107-3),
            e.g. ``frr_1e-3``.
        needs_action: also require that the requested action was detected.

    Raises:
        Failed: ``no_threshold``: the response holds no such threshold; ``vendor_error``: it has an unknown code.
        Unreadable: score, threshold or action is not of the documented type and range.
    """
    code, message = code_and_message(body)
    if code:
        if code not in CODES or CODES[code].meaning is not Meaning.REJECTED:
            raise Failed("vendor_error", f"Baidu answered {code}: {message}, which is in no list of its codes")
        rejection = {"reason": CODES[code].reason, "error_code": code, "error_msg": message}
        return Verdict(False, evidence=rejection)
    result = mapping(body, "result")
    thresholds = mapping(result, "thresholds")
    if threshold_name not in thresholds:
        raise Failed("no_threshold", f"Baidu returned thresholds {printable(sorted(thresholds))}, not {threshold_name}")
    score, threshold = number(result, score_name), number(thresholds, threshold_name)
    evidence: dict[str, Any] = {
        "thresholds": thresholds,
        # Recorded but not used for the verdict: it is unknown whether the paper's authors had it.
        **{name: result[name] for name in ("spoofing_score", "maxspoofing", "action_verify") if name in result},
    }
    action = result.get("action_verify")
    if needs_action and not isinstance(action, str):
        raise Unreadable(f"action_verify is {shown(action)}, not pass or fail")
    live = score > threshold
    if not live:
        evidence["reason"] = "not_live"
    elif needs_action and action != "pass":
        live, evidence["reason"] = False, "action_not_seen"
    return Verdict(live, score, threshold, evidence)


def code_and_message(body: dict[str, Any]) -> tuple[int | None, str]:
    """Return error code and message of either envelope; the code is None if there is neither, or if they differ."""
    found: dict[int, str] = {}
    for name, message in (("error_code", "error_msg"), ("err_no", "err_msg")):
        code = integer(body.get(name))
        if code is not None:
            found[code] = printable(body.get(message, ""))
    return next(iter(found.items())) if len(found) == 1 else (None, "")


def _raise_for_code(meaning: Meaning, text: str) -> NoReturn:
    """Raise what an error code means that is no verdict."""
    match meaning:
        case Meaning.RETRY | Meaning.RATE_LIMITED:
            raise TransientError(text, rate_limited=meaning is Meaning.RATE_LIMITED)
        case Meaning.NEW_SESSION:
            raise _SessionConsumed("session_spent", text)
        case Meaning.QUOTA:
            raise StopRun(f"{text}. The contract's quota is exhausted; rerun the same command another day")
        case Meaning.NEW_TOKEN | Meaning.NO_ACCESS:
            raise StopRun(f"{text}. The keys have no access to this endpoint; check the contract")
    raise Failed("vendor_error", text)


def _is_code_result(result: Any) -> bool:
    return isinstance(result, dict) and all(isinstance(result.get(name), str) for name in ("session_id", "code"))
