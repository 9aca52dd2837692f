"""Configurable paths and field names of Tianyan, whose API documentation is not public."""

import hashlib
import json

from simulated_vendors import ENVIRONMENT, serving, settings_for, small_clip
from werkzeug.wrappers import Request, Response

from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.simulator.contract import KEYS

FIELDS = {
    "appid": "app", "timestamp": "at", "sign": "signature", "motions": "actions", "complexity": "level",
    "video": "file", "image": "picture",
}  # fmt: skip
ANSWER = {
    "code": "status", "msg": "text", "data": "payload", "passed": "alive", "motions": "acts", "motion": "name",
    "score": "value",
}  # fmt: skip


def test_paths_and_field_names_come_from_the_config(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    received = []

    def app(environ, start_response):
        request = Request(environ)
        files = {name: file.read()[4:8] for name, file in request.files.items()}
        received.append((request.path, request.form.to_dict(), files))
        payload = {"alive": True, "acts": [{"name": "BLINK", "value": 0.4}, {"name": "NOD", "value": 0.3}]}
        return Response(json.dumps({"status": 200, "text": "fine", "payload": payload}))(environ, start_response)

    with serving(app) as address:
        settings = settings_for(
            "tianyan", f"{address}/v9", fields=FIELDS, answer=ANSWER, path="/film", silent_path="/still", complexity=2
        )
        provider = build(settings, {"blink": "BLINK NOD", "smile": ""}, tmp_path)
        verdict, silent = (provider.check(small_clip(1), action) for action in ("blink", "smile"))

    (path, form, files), (still, _, images) = received
    assert (path, still) == ("/v9/film", "/v9/still")
    assert form.keys() == {"app", "at", "signature", "actions", "level"}
    assert (form["actions"], form["level"], form["app"]) == ("BLINK NOD", "2", KEYS["id"])
    signed = f"{KEYS['id']}&{form['at']}&{KEYS['secret']}"
    assert form["signature"] == hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest()
    assert files == {"file": b"ftyp"}
    assert list(images) == ["picture"]
    # The lowest motion score, and its published threshold at this complexity.
    assert (verdict.live, verdict.score, verdict.threshold) == (True, 0.3, 0.5)
    assert silent.live
