"""Paid answers: written before they are understood, read strictly, kept when they cannot be read."""

import json
import random

import pytest
from simulated_vendors import ENVIRONMENT, MOTIONS, scripted, settings_for, small_clip, vendors

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.baidu import decide_by_threshold
from deepfakemnist.liveness.ledger import read_answers
from deepfakemnist.liveness.registry import build, meter_path
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.stages import liveness_shard
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED

TOKEN = (200, {}, json.dumps({"access_token": "24.abcdefgh", "expires_in": 1000}))
GOOD = '{"error_code": 0, "log_id": 7, "result": {"score": 0.95, "thresholds": {"frr_1e-3": 0.3}}}'
ANSWERS = {
    "baidu": GOOD,
    "baidu-picture": GOOD.replace("score", "face_liveness"),
    "tianyan": '{"code": 200, "msg": "ok", "data": {"passed": true, "motions": [{"motion": "BLINK", "score": 0.9}]}}',
    "linkface": '{"status": "OK", "request_id": "r7", "result": {"passed": true, "motions": [{"motion": "BLINK", '
    '"score": 0.9, "passed": true}]}}',
}
#: Provider, part of a good answer, and what stands in its place.
UNREADABLE = [
    ("baidu", "0.3}", 'null}'),
    ("baidu", "0.3}", '"high"}'),
    ("baidu", "0.3}", '"0.3"}'),
    ("baidu", "0.3}", "-1}"),
    ("baidu", "0.3}", "NaN}"),
    ("baidu", "0.3}", '0.3, "frr_1e-3": 0.1}'),
    ("baidu", '{"frr_1e-3": 0.3}', "0.3"),
    ("baidu", '{"frr_1e-3": 0.3}', "null"),
    ("baidu", "0.95", "true"),
    ("baidu", "0.95", '"0.95"'),
    ("baidu", "0.95", "1e400"),
    ("baidu", "0.95", "-1e400"),
    ("baidu", "0.95", "NaN"),
    ("baidu", "0.95", "Infinity"),
    ("baidu", "0.95", "1.01"),
    ("baidu", "0.95", "[0.95]"),
    ("baidu", "0.95", "null"),
    ("baidu", '"score"', '"Score"'),
    ("baidu", '"result"', '"results"'),
    ("baidu-picture", "0.95", "true"),
    ("tianyan", "true", '"false"'),
    ("tianyan", "true", '"true"'),
    ("tianyan", "true", "1"),
    ("tianyan", "true", "null"),
    ("tianyan", "true", '{"value": true}'),
    ("tianyan", "true", 'false, "passed": true'),
    ("tianyan", '[{"motion": "BLINK", "score": 0.9}]', '["BLINK"]'),
    ("tianyan", '[{"motion": "BLINK", "score": 0.9}]', '"BLINK"'),
    ("tianyan", '[{"motion": "BLINK", "score": 0.9}]', '{"motion": "BLINK", "score": 0.9}'),
    ("tianyan", "0.9", '"0.9"'),
    ("tianyan", "0.9", "NaN"),
    ("tianyan", "0.9", "true"),
    ("tianyan", '"data"', '"Data"'),
    ("linkface", '"passed": true, "motions"', '"passed": "false", "motions"'),
    ("linkface", '"score": 0.9, "passed": true', '"score": 0.9, "passed": false'),
    ("linkface", '"score": 0.9, "passed": true', '"score": 0.9, "passed": "no"'),
    ("linkface", '"result"', '"results"'),
]  # fmt: skip


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def check(provider, address, folder, **settings):
    action = "smile" if provider == "baidu" else "blink"
    return build(settings_for(provider, address, **settings), MOTIONS[provider], folder).check(small_clip(1), action)


def replies(provider, text):
    return [TOKEN, (200, {}, text)] if provider.startswith("baidu") else [(200, {}, text)]


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "part", "instead"), UNREADABLE)
def test_an_unreadable_answer_is_kept_and_never_live_nor_asked_again(tmp_path, provider, part, instead):
    text = ANSWERS[provider].replace(part, instead, 1)
    assert text != ANSWERS[provider]
    with scripted(*replies(provider, text)) as address:
        for _ in range(2):  # the server has one reply
            with pytest.raises(Failed, match="answer_unreadable.*the answer is kept and not requested again"):
                check(provider, address, tmp_path)
    (answer,) = read_answers(tmp_path)
    assert (answer["live"], answer["score"]) == (None, None)
    assert json.loads(meter_path(tmp_path, provider).read_text())["spent"] == answer["cost"] > 0
    assert not list(tmp_path.rglob("*.asked"))


@pytest.mark.slow
@pytest.mark.parametrize("provider", ANSWERS)
def test_the_same_answers_unchanged_are_live(tmp_path, provider):
    with scripted(*replies(provider, ANSWERS[provider])) as address:
        assert check(provider, address, tmp_path).live


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provider", "text"),
    [
        ("baidu", '{"error_code": 999123, "error_msg": "new", "log_id": 7}'),
        ("tianyan", '{"code": 10001, "msg": "no face detected", "data": null}'),
        ("linkface", '{"status": "DETECTION_FAILED", "reason": "no face"}'),
    ],
)
def test_a_response_with_an_unknown_code_is_kept_because_it_may_be_billed(tmp_path, provider, text):
    with scripted(*replies(provider, text)) as address:
        for _ in range(2):
            with pytest.raises(Failed, match="vendor_error.*the answer is kept"):
                check(provider, address, tmp_path)
    (answer,) = read_answers(tmp_path)
    assert answer["response"] == json.loads(text)


@pytest.mark.slow
def test_whatever_goes_wrong_while_an_answer_is_read_the_answer_is_kept(tmp_path, monkeypatch):
    """An error of this program costs no second price either, and heals with the program."""
    for place in ("vendor.strip_images", "vendor.VendorProvider._current_verdict", "ledger._history"):
        with monkeypatch.context() as broken, scripted(*replies("baidu", GOOD)) as address:
            broken.setattr(f"deepfakemnist.liveness.{place}", lambda *_, **__: 1 / 0)
            with pytest.raises(Failed, match="answer_unreadable: ZeroDivisionError in the response kept in"):
                check("baidu", address, tmp_path / place)
            assert not list(read_answers(tmp_path / place))
        # Nobody listens at the address any more.
        assert check("baidu", address, tmp_path / place).score == 0.95


@pytest.mark.slow
def test_mistyped_answers_of_every_vendor_are_unreadable(tmp_path):
    with vendors(faults=FaultPlan(share=1.0, kinds=("mistyped",))) as (simulator, address):
        for provider in ("baidu-picture", "tianyan", "linkface"):
            for _ in range(2):
                with pytest.raises(Failed, match="answer_unreadable"):
                    check(provider, address, tmp_path)
        assert set(simulator.account.billed.values()) == {1}


@pytest.mark.slow
def test_a_damaged_answer_names_its_file_and_is_not_paid_for_again(tmp_path, caplog):
    with scripted(*replies("tianyan", ANSWERS["tianyan"])) as address:
        check("tianyan", address, tmp_path)
        (path,) = tmp_path.glob("tianyan/??/*.json")
        whole = path.read_text()
        for damaged in ("", whole[:40], "[]", "null"):
            path.write_text(damaged)
            with pytest.raises(
                Failed, match=f"answer_unreadable.*{path.name} is damaged.*restore the file from a copy"
            ):
                check("tianyan", address, tmp_path)
            assert list(read_answers(tmp_path)) == []
            assert "is damaged" in caplog.text
        path.write_text(whole.replace('"pixels', '"pixel'))
        path.write_text(json.dumps({}))
        with pytest.raises(Failed, match="answer_unreadable"):
            check("tianyan", address, tmp_path)
        path.write_text(whole)
        assert check("tianyan", address, tmp_path).live


@pytest.mark.slow
def test_the_rows_of_a_table_say_unreadable_and_in_doubt(tmp_path):
    """Through the stage: surrogates and NUL in a vendor's text do not break the table."""
    rows = []
    for number in range(2):
        clip = write_working_clip(tmp_path / f"{number}.mp4", list(small_clip(number).frames), 25.0)
        row = {"video_id": f"v{number}", "action": "blink", "path": str(tmp_path / f"{number}.mp4")}
        rows.append({**row, "pixels_sha256": clip.pixels_sha256, "status": "ok", "reason": "", "detail": ""})
    write_table(rows, tmp_path / "animated.parquet", ANIMATED)
    hostile = r'{"code": 12, "msg": "\ud800 \u0000 <script>", "data": null}'
    with scripted((200, {}, hostile), (502, {}, "")) as address:
        settings = settings_for("tianyan", address)
        liveness_shard(
            tmp_path / "animated.parquet", tmp_path / "verdicts.parquet", settings, fps=25.0, code="c",
            motions=MOTIONS["tianyan"], answers=tmp_path / "answers",
        )  # fmt: skip
    first, second = read_rows(tmp_path / "verdicts.parquet")
    assert (first["status"], first["reason"], first["live"]) == ("failed", "vendor_error", None)
    assert (second["status"], second["reason"], second["live"]) == ("failed", "in_doubt", None)
    assert "tianyan was asked about v1 at 20" in second["detail"]


def random_json(rng, depth=0):
    kinds = [None, True, False, 0, 1, 0.5, -1, 7, 10**400, "", "pass", "true", "NaN", "\ud800"]
    if depth > 3 or rng.random() < 0.6:
        return rng.choice(kinds)
    if rng.random() < 0.4:
        return [random_json(rng, depth + 1) for _ in range(rng.randrange(3))]
    names = ["error_code", "result", "score", "thresholds", "frr_1e-3", "action_verify", "code", "passed", "x"]
    return {rng.choice(names): random_json(rng, depth + 1) for _ in range(rng.randrange(5))}


def test_random_json_is_live_only_with_documented_types():
    rng, live = random.Random(8), 0
    for _ in range(20_000):
        body = {"error_code": 0, "result": {"score": random_json(rng), "thresholds": {"frr_1e-3": random_json(rng)}}}
        body["result"]["action_verify"] = random_json(rng)
        if rng.random() < 0.2:
            body = {"error_code": random_json(rng), "result": random_json(rng)}
        try:
            verdict = decide_by_threshold(body, "score", "frr_1e-3", needs_action=True)
        except Failed:
            continue
        if verdict.live:
            live += 1
            score, threshold = body["result"]["score"], body["result"]["thresholds"]["frr_1e-3"]
            assert type(score) in (int, float) and type(threshold) in (int, float)
            assert 0 <= threshold < score <= 1
            assert body["result"]["action_verify"] == "pass"
            assert type(body["error_code"]) is int
    assert live > 0
