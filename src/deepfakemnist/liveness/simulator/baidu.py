"""Simulated Baidu API: access token, session code, video and image liveness."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request, Response

from deepfakemnist.liveness.simulator.contract import KEYS, Account, json_response

_DIGITS = "0457"
_MAX_UPLOAD = 20_000_000
_MAX_IMAGE = 2_000_000
_MAX_ACTION_S = 10.0
#: Thresholds that Baidu returns, keyed by their false rejection rate (FRR).
_THRESHOLDS = {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}
_PREFIX = "/rest/2.0/face"


class _VendorError(Exception):
    """An error response with one of the vendor's codes."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class SimulatedBaidu:
    """Serves /oauth/2.0/token, faceliveness/sessioncode, faceliveness/verify and v3/faceverify."""

    paths = ("/oauth/2.0/token", f"{_PREFIX}/v1/faceliveness/sessioncode", f"{_PREFIX}/v1/faceliveness/verify",
             f"{_PREFIX}/v3/faceverify")  # fmt: skip

    def __init__(self, account: Account) -> None:
        self.account = account
        self._tokens: dict[str, float] = {}
        self._sessions: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request, fault: str | None) -> Response:
        """Answer one request; ``fault`` is one that the vendor reports in its own format."""
        if request.path == self.paths[0]:
            return self._token(request.values)
        service = request.path.rsplit("/", 1)[1]
        try:
            self._check_token(request.args.get("access_token"), revoke=fault == "token")
            if fault == "busy":
                raise _VendorError(2, "Service temporarily unavailable")
            if fault == "crowded" or not self.account.admit_request(f"baidu {service}"):
                raise _VendorError(18, "Open api qps request limit reached")
            if not self.account.consume_quota(f"baidu {service}"):
                raise _VendorError(17, "Open api daily request limit reached")
            result = {"sessioncode": self._code, "verify": self._video, "faceverify": self._images}[service](request)
        except _VendorError as error:
            return self._envelope(error.code, str(error), None)
        return self._envelope(0, "SUCCESS", result)

    def _envelope(self, code: int, message: str, result: Any) -> Response:
        style = self.account.contract.envelope
        log_id = secrets.randbelow(10**10)
        body: dict[str, Any] = {"result": result, "timestamp": int(time.time()), "cached": 0}
        if style in ("new", "both"):
            body |= {"error_code": code, "error_msg": message, "log_id": log_id}
        if style in ("old", "both"):
            body |= {"err_no": code, "err_msg": message, "serverlogid": str(log_id)}
        return json_response(body)

    def _token(self, values: Mapping[str, str]) -> Response:
        if values.get("client_id") != KEYS["id"]:
            return json_response({"error": "invalid_client", "error_description": "unknown client id"}, 200)
        if values.get("client_secret") != KEYS["secret"]:
            return json_response({"error": "invalid_client", "error_description": "Client authentication failed"}, 200)
        token, life = f"24.{secrets.token_hex(16)}", self.account.contract.token_s
        with self._lock:
            self._tokens[token] = time.monotonic() + life
        return json_response(
            {
                "access_token": token,
                "expires_in": life,
                "scope": "public brain_all_scope wise_adapt",
                "session_key": "",
                "session_secret": "",
                "refresh_token": "",
            }
        )

    def _check_token(self, token: str | None, revoke: bool) -> None:
        if not token:
            raise _VendorError(100, "Invalid parameter")
        with self._lock:
            if revoke:
                self._tokens.pop(token, None)
            until = self._tokens.get(token)
        if until is None:
            raise _VendorError(110, "Access token invalid or no longer valid")
        if time.monotonic() > until:
            raise _VendorError(111, "Access token expired")

    def _code(self, request: Request) -> Any:
        values = request.get_json() if request.is_json else request.form
        if str(values.get("type", "0")) != "1":
            raise _VendorError(216100, "param[type]: this simulator supports action codes only")
        low, high = int(values.get("min_code_length", 1)), int(values.get("max_code_length", 3))
        if not 1 <= low <= high <= 3:
            raise _VendorError(216100, "param[code_length] invalid")
        length = low + secrets.randbelow(high - low + 1)
        code = "".join(secrets.choice(_DIGITS) for _ in range(length))
        session = f"S{secrets.token_hex(12)}"
        with self._lock:
            self._sessions[session] = (code, time.monotonic() + self.account.contract.code_s)
        return {"session_id": session, "code": code}

    def _video(self, request: Request) -> Any:
        if request.mimetype != "application/x-www-form-urlencoded":
            raise _VendorError(216100, "param[video_base64] is null")
        form = request.form
        kind, code = form.get("type_identify"), ""
        if kind not in (None, "action"):
            raise _VendorError(
                216100, "param[type_identify]: this simulator supports action, or passive liveness without it"
            )
        if kind == "action":
            with self._lock:
                code, until = self._sessions.pop(form.get("session_id", ""), ("", 0.0))
            if not code or time.monotonic() > until:
                raise _VendorError(216502, "session lapse")
        data = _decode(form.get("video_base64", ""), 216508, "not found video info")
        seen = self.account.witness.video(data, list(code))
        if not seen.readable or len(data) > _MAX_UPLOAD:
            raise _VendorError(216508, "not found video info")
        if code and seen.seconds > _MAX_ACTION_S:
            raise _VendorError(216510, "video length exceeds 10 s")
        self.account.bill("baidu verify", data, kind or "silent")
        if not seen.face:
            raise _VendorError(216501, "not found face")
        result: dict[str, Any] = {"score": seen.live, "thresholds": _THRESHOLDS}
        face_image: dict[str, Any] = {
            "pic": base64.b64encode(data[:3000]).decode(),
            "face_token": secrets.token_hex(16),
            "face_id": "",
            "liveness_score": seen.live,
        }
        if "spoofing" in form.get("face_field", ""):
            face_image["spoofing"] = result["spoofing_score"] = result["maxspoofing"] = 0.0001
        result |= {"best_image": face_image, "pic_list": [face_image]}
        if code:
            done = all(seen.motions[digit] >= 1 for digit in code)
            result |= {"action_verify": "pass" if done else "fail", "code": {"create": code, "identify": code}}
        return result

    def _images(self, request: Request) -> Any:
        try:
            body = request.get_json()
            images = [(image["image"], image["image_type"], image.get("face_field", "")) for image in body]
        except (TypeError, KeyError, json.JSONDecodeError):
            raise _VendorError(222001, "param[] is null: expected a JSON array of images") from None
        faces: list[dict[str, Any]] = []
        total, best = b"", 0.0
        for text, kind, face_field in images:
            if kind != "BASE64":
                raise _VendorError(222001, "param[image_type]: this simulator supports BASE64 only")
            if len(text) > _MAX_IMAGE:
                raise _VendorError(222304, "image size is too large")
            data = _decode(text, 222203, "image check fail")
            seen = self.account.witness.image(data)
            total += data
            if seen.face:
                best = max(best, seen.live)
                face = {
                    "face_token": secrets.token_hex(16),
                    "face_probability": 1,
                    "liveness": {"livemapscore": seen.live},
                }
                faces.append({**face, **({"spoofing": 0.0001} if "spoofing" in face_field else {})})
        self.account.bill("baidu faceverify", total)
        if not faces:
            raise _VendorError(222202, "pic not has face")
        return {"face_liveness": best, "thresholds": _THRESHOLDS, "face_list": faces}


def _decode(text: str, code: int, message: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _VendorError(code, message) from None
