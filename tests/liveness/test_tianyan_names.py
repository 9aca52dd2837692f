"""Tianyan's page is not public: every path and name may turn out to be another, and is a setting."""

import hashlib
import json

from simulated import ENVIRONMENT, serving, settings_for, small_clip
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


def test_paths_and_names_are_the_configs(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    asked = []

    def app(environ, start_response):
        request = Request(environ)
        files = {name: file.read()[4:8] for name, file in request.files.items()}
        asked.append((request.path, request.form.to_dict(), files))
        payload = {"alive": True, "acts": [{"name": "BLINK", "value": 0.4}, {"name": "NOD", "value": 0.3}]}
        return Response(json.dumps({"status": 200, "text": "fine", "payload": payload}))(environ, start_response)

    with serving(app) as address:
        settings = settings_for(
            "tianyan", f"{address}/v9", fields=FIELDS, answer=ANSWER, path="/film", silent_path="/still", complexity=2
        )
        provider = build(settings, {"blink": "BLINK NOD", "smile": ""}, tmp_path)
        verdict, silent = (provider.check(small_clip(1), action) for action in ("blink", "smile"))

    (path, form, files), (still, _, pictures) = asked
    assert (path, still) == ("/v9/film", "/v9/still")
    assert form.keys() == {"app", "at", "signature", "actions", "level"}
    assert (form["actions"], form["level"], form["app"]) == ("BLINK NOD", "2", KEYS["id"])
    signed = f"{KEYS['id']}&{form['at']}&{KEYS['secret']}"
    assert form["signature"] == hashlib.md5(signed.encode(), usedforsecurity=False).hexdigest()
    assert files == {"file": b"ftyp"}
    assert list(pictures) == ["picture"]
    # The least sure of the motions, and its published limit at this complexity.
    assert (verdict.live, verdict.score, verdict.threshold) == (True, 0.3, 0.5)
    assert silent.live
