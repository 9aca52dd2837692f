"""Simulated Tianyan (Shumai) and Linkface APIs: action liveness on video, passive liveness on an image."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any

from werkzeug.wrappers import Request, Response

from deepfakemnist.liveness.motion_services import MOTION_LIMITS
from deepfakemnist.liveness.simulator.contract import KEYS, Account, json_response
from deepfakemnist.liveness.simulator.witness import ACTION_OF

#: Largest difference between a signature's timestamp and the clock.
_SIGNATURE_S = 300
_MAX_UPLOAD = 10_000_000
_LIVE = 0.5


class SimulatedTianyan:
    """Serves the video check and the image check under their most likely paths."""

    paths = ("/v2/life/check", "/v4/life_photo/check")

    def __init__(self, account: Account) -> None:
        self.account = account

    def __call__(self, request: Request, fault: str | None) -> Response:
        """Answer one request; ``fault`` is one that the vendor reports in its own format."""
        form = request.form
        if not self._is_signed(form.get("appid", ""), form.get("timestamp", ""), form.get("sign", "")):
            return _envelope(401, "appid, timestamp or sign is wrong", None)
        if fault in ("busy", "token"):
            return _envelope(500, "the service is busy", None)
        if fault == "crowded" or not self.account.admit_request("tianyan"):
            return json_response({"message": "too many requests"}, 429, **{"Retry-After": "0.2"})
        if not self.account.consume_quota("tianyan"):
            return _envelope(603, "balance insufficient", None)
        if request.path == self.paths[1]:
            return self._image(request)
        motions, complexity = form.get("motions", "").split(), form.get("complexity", "1")
        if not motions or set(motions) - set(ACTION_OF) or complexity not in "0123":
            return _envelope(400, "motions or complexity is wrong", None)
        result = check_motions(self.account, "tianyan", request, "video", motions, int(complexity))
        return _envelope(200, "ok", result) if result else _envelope(400, "video is missing or cannot be read", None)

    @staticmethod
    def _is_signed(app_id: str, timestamp: str, sign: str) -> bool:
        text = f"{KEYS['id']}&{timestamp}&{KEYS['secret']}"
        right = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        fresh = timestamp.isdigit() and abs(time.time() - int(timestamp) / 1000) < _SIGNATURE_S
        return app_id == KEYS["id"] and fresh and hmac.compare_digest(sign, right)

    def _image(self, request: Request) -> Response:
        file = request.files.get("image")
        data = file.read() if file else b""
        seen = self.account.witness.image(data)
        if not seen.readable:
            return _envelope(400, "image is missing or cannot be read", None)
        self.account.bill("tianyan", data, "silent")
        return _envelope(200, "ok", {"passed": seen.face and seen.live >= _LIVE, "score": seen.live})


class SimulatedLinkface:
    """Serves /liveness/check_liveness."""

    paths = ("/liveness/check_liveness",)

    def __init__(self, account: Account) -> None:
        self.account = account

    def __call__(self, request: Request, fault: str | None) -> Response:
        """Answer one request; ``fault`` is one that the vendor reports in its own format."""
        form = request.form
        if (form.get("api_id"), form.get("api_secret")) != (KEYS["id"], KEYS["secret"]):
            return json_response({"status": "UNAUTHORIZED", "reason": "api_id or api_secret is wrong"}, 401)
        if fault in ("busy", "token"):
            return json_response({"status": "INTERNAL_ERROR"}, 500)
        if fault == "crowded" or not self.account.admit_request("linkface"):
            return json_response({"status": "RATE_LIMIT_EXCEEDED"}, 429, **{"Retry-After": "0.2"})
        if not self.account.consume_quota("linkface"):
            return json_response({"status": "OUT_OF_QUOTA"}, 403)
        motions, complexity = form.get("motions", "").split(), form.get("complexity", "1")
        if not motions or set(motions) - set(MOTION_LIMITS[0]) or complexity not in "0123":
            return json_response({"status": "INVALID_ARGUMENT", "reason": "motions or complexity"})
        result = check_motions(self.account, "linkface", request, "liveness_data_file", motions, int(complexity))
        if result is None:
            return json_response({"status": "INVALID_ARGUMENT", "reason": "liveness_data_file"})
        return json_response({"request_id": secrets.token_hex(16), "status": "OK", "result": result})


def check_motions(
    account: Account, service: str, request: Request, field: str, motions: list[str], complexity: int
) -> dict[str, Any] | None:
    """Return passed, feature_image_id and per-motion scores of the video in a form field; None without a video."""
    file = request.files.get(field)
    data = file.read() if file else b""
    if not data or len(data) > _MAX_UPLOAD:
        return None
    seen = account.witness.video(data, motions)
    if not seen.readable:
        return None
    account.bill(service, data, " ".join(motions))
    limits = MOTION_LIMITS[complexity]
    # A motion at the local detector's limit gets the vendor's threshold as its score, so that the vendor's decides.
    scores = {motion: min(seen.motions[motion] * MOTION_LIMITS[1].get(motion, 0.2), 1.0) for motion in motions}
    results = [
        {"motion": motion, "score": score, "passed": seen.face and score >= limits.get(motion, 0.2)}
        for motion, score in scores.items()
    ]
    passed = all(motion["passed"] for motion in results)
    return {"passed": passed, "feature_image_id": secrets.token_hex(12) if passed else None, "motions": results}


def _envelope(code: int, message: str, data: Any) -> Response:
    return json_response({"success": code == 200, "msg": message, "code": code, "data": data})
