"""Tianyan's (Shumai's) and Linkface's side of the contract: motions in a video, a picture without."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any

from werkzeug.wrappers import Request, Response

from deepfakemnist.liveness.motion_services import MOTION_LIMITS
from deepfakemnist.liveness.simulator.contract import KEYS, Books, answer
from deepfakemnist.liveness.simulator.witness import ACTION_OF

#: A signature is refused this long after its time, and before.
_SIGNATURE_S = 300
_MAX_UPLOAD = 10_000_000
_LIVE = 0.5


class SimulatedTianyan:
    """Serves the video check and the picture check under the likeliest of their paths."""

    paths = ("/v2/life/check", "/v4/life_photo/check")

    def __init__(self, books: Books) -> None:
        self.books = books

    def __call__(self, request: Request, fault: str | None) -> Response:
        """Answer one request; ``fault`` is one that the vendor words itself."""
        form = request.form
        if not self._is_signed(form.get("appid", ""), form.get("timestamp", ""), form.get("sign", "")):
            return _envelope(401, "appid, timestamp or sign is wrong", None)
        if fault in ("busy", "token"):
            return _envelope(500, "the service is busy", None)
        if fault == "crowded" or not self.books.admits("tianyan"):
            return answer({"message": "too many requests"}, 429, **{"Retry-After": "0.2"})
        if not self.books.has_quota("tianyan"):
            return _envelope(603, "balance insufficient", None)
        if request.path == self.paths[1]:
            return self._picture(request)
        motions, complexity = form.get("motions", "").split(), form.get("complexity", "1")
        if not motions or set(motions) - set(ACTION_OF) or complexity not in "0123":
            return _envelope(400, "motions or complexity is wrong", None)
        result = look_for_motions(self.books, "tianyan", request, "video", motions, int(complexity))
        return _envelope(200, "ok", result) if result else _envelope(400, "video is missing or cannot be read", None)

    @staticmethod
    def _is_signed(app_id: str, timestamp: str, sign: str) -> bool:
        text = f"{KEYS['id']}&{timestamp}&{KEYS['secret']}"
        right = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        fresh = timestamp.isdigit() and abs(time.time() - int(timestamp) / 1000) < _SIGNATURE_S
        return app_id == KEYS["id"] and fresh and hmac.compare_digest(sign, right)

    def _picture(self, request: Request) -> Response:
        file = request.files.get("image")
        data = file.read() if file else b""
        seen = self.books.witness.picture(data)
        if not seen.readable:
            return _envelope(400, "image is missing or cannot be read", None)
        self.books.bill("tianyan", data, "silent")
        return _envelope(200, "ok", {"passed": seen.face and seen.live >= _LIVE, "score": seen.live})


class SimulatedLinkface:
    """Serves /liveness/check_liveness."""

    paths = ("/liveness/check_liveness",)

    def __init__(self, books: Books) -> None:
        self.books = books

    def __call__(self, request: Request, fault: str | None) -> Response:
        """Answer one request; ``fault`` is one that the vendor words itself."""
        form = request.form
        if (form.get("api_id"), form.get("api_secret")) != (KEYS["id"], KEYS["secret"]):
            return answer({"status": "UNAUTHORIZED", "reason": "api_id or api_secret is wrong"}, 401)
        if fault in ("busy", "token"):
            return answer({"status": "INTERNAL_ERROR"}, 500)
        if fault == "crowded" or not self.books.admits("linkface"):
            return answer({"status": "RATE_LIMIT_EXCEEDED"}, 429, **{"Retry-After": "0.2"})
        if not self.books.has_quota("linkface"):
            return answer({"status": "OUT_OF_QUOTA"}, 403)
        motions, complexity = form.get("motions", "").split(), form.get("complexity", "1")
        if not motions or set(motions) - set(MOTION_LIMITS[0]) or complexity not in "0123":
            return answer({"status": "INVALID_ARGUMENT", "reason": "motions or complexity"})
        result = look_for_motions(self.books, "linkface", request, "liveness_data_file", motions, int(complexity))
        if result is None:
            return answer({"status": "INVALID_ARGUMENT", "reason": "liveness_data_file"})
        return answer({"request_id": secrets.token_hex(16), "status": "OK", "result": result})


def look_for_motions(
    books: Books, service: str, request: Request, field: str, motions: list[str], complexity: int
) -> dict[str, Any] | None:
    """Return passed, feature_image_id and per-motion scores of the video in a form field; None without a video."""
    file = request.files.get(field)
    data = file.read() if file else b""
    if not data or len(data) > _MAX_UPLOAD:
        return None
    seen = books.witness.video(data, motions)
    if not seen.readable:
        return None
    books.bill(service, data, " ".join(motions))
    limits = MOTION_LIMITS[complexity]
    # A motion that just shows gets the vendor's limit for it, so that its limits decide as they would.
    scores = {motion: min(seen.motions[motion] * MOTION_LIMITS[1].get(motion, 0.2), 1.0) for motion in motions}
    told = [
        {"motion": motion, "score": score, "passed": seen.face and score >= limits.get(motion, 0.2)}
        for motion, score in scores.items()
    ]
    passed = all(motion["passed"] for motion in told)
    return {"passed": passed, "feature_image_id": secrets.token_hex(12) if passed else None, "motions": told}


def _envelope(code: int, message: str, data: Any) -> Response:
    return answer({"success": code == 200, "msg": message, "code": code, "data": data})
