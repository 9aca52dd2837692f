"""Keys that a vendor repeats: blanked in every encoding, in the ledger, marks, tables, journals, logs and messages."""

import base64
import html
import json
import logging
import random
import re
from urllib.parse import quote, quote_plus

import pytest
from simulated_vendors import ENVIRONMENT, MOTIONS, scripted, settings_for, small_clip, vendors

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.ledger import read_answers
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.redaction import Redactor
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.simulator.contract import KEYS
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.stages import liveness_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import ANIMATED

SECRETS = ("simulator-secret", "s3cr/t+key of=mine&co", 'quot"ed\\back<slash>', "schlüssel-€-𝄞", "123456789012")
ENCODINGS = {
    "as it is": lambda text: text,
    "upper case": str.upper,
    "percent": lambda text: quote(text, safe=""),
    "percent, lower case": lambda text: quote(text, safe="").lower(),
    "percent, slash kept": quote,
    "plus for spaces": quote_plus,
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "every character": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "json": lambda text: json.dumps(text),
    "json, not ascii": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps({"key": text})),
    "json, slash": lambda text: json.dumps(text).replace("/", "\\/"),
    "html": lambda text: html.escape(text),
    "html numbers": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "html hex": lambda text: "".join(f"&#x{ord(character):X};" for character in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 after one byte": lambda text: base64.b64encode(b":" + text.encode()).decode(),
    "base64 after two bytes": lambda text: base64.b64encode(b"a:" + text.encode() + b"b").decode(),
    "base64 for urls": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_blanked_in_every_encoding(secret, encoding):
    encoded = ENCODINGS[encoding](secret)
    blanked = Redactor([secret]).text(f"before {encoded} after")
    assert blanked.startswith("before ") and blanked.endswith(" after") and "***" in blanked
    # Of base64, the few characters that hold bits of other text as well may stay.
    core = encoded.strip('"')
    longest = max((len(core[at : at + 6]) for at in range(len(core)) if core[at : at + 6] in blanked), default=0)
    assert longest < 6 or "key" in encoded or encoding.startswith("base64")
    if not encoding.startswith("base64"):
        assert core not in blanked


def test_names_values_and_numbers_are_blanked_at_any_depth():
    redactor = Redactor(["12345678", "s3cr3t-key"])
    value = {"s3cr3t-key": [{"a": "x s3cr3t-key y", "n": 12345678, "other": 123456789, "live": True, "none": None}]}
    assert redactor.json(value) == {
        "***": [{"a": "x *** y", "n": "***", "other": 123456789, "live": True, "none": None}]
    }


def test_what_is_no_secret_stays():
    redactor = Redactor([*SECRETS, "", "abc"])
    text = json.dumps({"score": 0.98, "pic": base64.b64encode(random.Random(1).randbytes(3000)).decode(), "abc": 1})
    assert redactor.text(text) == text


@pytest.fixture
def keys(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def assert_no_key(*texts):
    for text in texts:
        for secret in KEYS.values():
            for encode in ENCODINGS.values():
                core = encode(secret).strip('"').strip("=")[1:-2]
                assert core.lower() not in text.lower()
        assert not re.search(r"24\.[0-9a-f]{16}", text), "an access token"


@pytest.mark.slow
@pytest.mark.parametrize("provider", ["baidu", "baidu-picture", "tianyan", "linkface"])
@pytest.mark.parametrize("fault", ["echo", "redirect"])
def test_keys_that_a_vendor_repeats_are_written_nowhere(tmp_path, keys, caplog, capfd, provider, fault):
    """Through the stage: table, journal, ledger, marks and log of a run whose vendor repeats every request."""
    caplog.set_level(logging.DEBUG)
    clip = write_working_clip(tmp_path / "0.mp4", list(small_clip(1).frames), 25.0)
    row = {"video_id": "v", "action": "blink", "path": str(tmp_path / "0.mp4"), "pixels_sha256": clip.pixels_sha256}
    write_table([{**row, "status": "ok", "reason": "", "detail": ""}], tmp_path / "animated.parquet", ANIMATED)
    with vendors(faults=FaultPlan(share=1.0, kinds=(fault,))) as (_, address):
        try:
            liveness_shard(
                tmp_path / "animated.parquet", tmp_path / "verdicts.parquet", settings_for(provider, address),
                fps=25.0, code="c", motions=MOTIONS[provider], answers=tmp_path / "answers",
            )  # fmt: skip
            message = ""
        except Exception as error:
            message = repr(error)
    assert bool(message) == (fault == "redirect")
    files = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert_no_key(message, caplog.text, *capfd.readouterr(), *files)
    if fault == "echo":
        (answer,) = read_answers(tmp_path / "answers")
        assert "***" in answer["response"]["echo"]["url" if provider.startswith("baidu") else "json"]


@pytest.mark.slow
def test_a_key_made_of_digits_costs_no_answer_whose_numbers_hold_them(tmp_path, keys, monkeypatch):
    monkeypatch.setenv("DEEPFAKEMNIST_TIANYAN_APP_ID", "1400")
    body = (
        '{"code": 200, "log_id": 2214001234, "data": {"passed": true, "motions": [{"score": 0.14001}], "id": "1400"}}'
    )
    with scripted((200, {}, body)) as address:
        provider = build(settings_for("tianyan", address), MOTIONS["tianyan"], tmp_path)
        assert provider.check(small_clip(1), "blink").score == 0.14001
    (answer,) = read_answers(tmp_path)
    assert answer["response"]["log_id"] == 2214001234
    assert answer["response"]["data"]["id"] == "***"


@pytest.mark.slow
def test_a_vendor_that_names_the_key_in_errors_shows_it_nowhere(tmp_path, keys, caplog):
    caplog.set_level(logging.DEBUG)
    token = json.dumps({"error": "invalid_client", "error_description": f"{KEYS['secret']} is wrong for {KEYS['id']}"})
    busy = json.dumps({"code": 500, "msg": quote(KEYS["secret"])})
    refused = json.dumps({"code": 400, "msg": KEYS["secret"]})
    for name, replies, error in (
        ("baidu", [(200, {}, token)], StopRun),
        ("tianyan", [(403, {}, f"key {KEYS['secret']}")], StopRun),
        ("tianyan", [(503, {}, KEYS["secret"]), (200, {}, busy), (200, {}, refused)], Failed),
        ("tianyan", [(200, {}, f"<html>{KEYS['secret']}, log_id: 3")], Failed),
        ("linkface", [(200, {}, json.dumps({"status": KEYS["secret"], "reason": KEYS["id"]}))], Failed),
    ):
        with scripted(*replies) as address, pytest.raises(error) as raised:
            build(settings_for(name, address), MOTIONS[name], tmp_path).check(small_clip(1), "blink")
        assert_no_key(str(raised.value), *map(str, raised.value.args), caplog.text)
    assert_no_key(*(path.read_text() for path in tmp_path.rglob("*.json")))
    assert_no_key(*(path.read_text() for path in tmp_path.rglob("*.asked")))
