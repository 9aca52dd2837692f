"""Vendor providers over real HTTP, against the simulator on the loopback address."""

import base64
import hashlib
import json
import re
import time

import numpy as np
import pytest
import requests
from simulated_vendors import ENVIRONMENT, MOTIONS, settings_for, small_clip, vendors

from deepfakemnist.config.liveness import UploadSettings
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.liveness.baidu import decide_by_threshold
from deepfakemnist.liveness.ledger import read_answers
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.liveness.registry import build, meter_path
from deepfakemnist.liveness.simulator.contract import KEYS
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.simulator.witness import LocalWitness
from deepfakemnist.liveness.upload import encode_clip
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.media.probe import probe

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def check(provider, address, tmp_path, clip, action, **settings):
    built = build(settings_for(provider, address, **settings), MOTIONS[provider], tmp_path / "answers")
    return built.check(clip, action)


def metered(tmp_path, provider):
    return json.loads(meter_path(tmp_path / "answers", provider).read_text())


@pytest.mark.parametrize("envelope", ["new", "old", "both"])
def test_passive_video_liveness_applies_the_returned_threshold_in_either_envelope(tmp_path, envelope):
    with vendors(envelope=envelope) as (simulator, address):
        verdicts = [check("baidu", address, tmp_path, small_clip(n), "smile") for n in range(6)]
        assert simulator.account.billed.total() == 6
    for verdict in verdicts:
        assert verdict.threshold == 0.3
        assert verdict.live == (verdict.score > 0.3)
        assert verdict.evidence["thresholds"] == {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}
        assert verdict.exchange.cost == 0.2
    assert {verdict.live for verdict in verdicts} == {True, False}


def test_another_threshold_is_applied_without_a_new_request(tmp_path):
    with vendors() as (simulator, address):
        scores = {n: check("baidu", address, tmp_path, small_clip(n), "smile").score for n in range(6)}
        between = next(n for n, score in scores.items() if 0.3 < score <= 0.9)
        strict = check("baidu", address, tmp_path, small_clip(between), "smile", threshold="frr_1e-2")
        assert (strict.live, strict.threshold, strict.evidence["reason"]) == (False, 0.9, "not_live")
        assert simulator.account.billed.total() == 6
    assert metered(tmp_path, "baidu")["spent"] == pytest.approx(1.2)


def test_an_action_is_requested_by_its_session_code(tmp_path):
    with vendors() as (_, address):
        verdicts = [check("baidu", address, tmp_path, small_clip(n), "yaw") for n in range(4)]
    for verdict in verdicts:
        assert verdict.evidence["action_verify"] in ("pass", "fail")
        if verdict.evidence["action_verify"] == "fail":
            assert not verdict.live
        # The video, and 0.01 for each session code requested.
        assert verdict.exchange.cost == pytest.approx(0.2 + 0.01 * (verdict.exchange.attempts - 1))
    assert sum(verdict.exchange.attempts for verdict in verdicts) > 8
    assert metered(tmp_path, "baidu")["spent"] == pytest.approx(sum(verdict.exchange.cost for verdict in verdicts))


def test_code_requests_are_bounded(tmp_path):
    with vendors() as (_, address), pytest.raises(Failed, match=r"none of 1 session codes was 0 \(max_draws\)"):
        for number in range(20):
            check("baidu", address, tmp_path, small_clip(number), "blink", max_draws=1)


def test_images_are_sent_in_one_request(tmp_path):
    with vendors() as (simulator, address):
        verdict = check("baidu-picture", address, tmp_path, small_clip(1), "yaw", frames=4)
        assert list(simulator.account.billed.values()) == [1]
    assert verdict.live == (verdict.score > verdict.threshold == 0.3)
    assert verdict.exchange.cost == 0.002


def test_tianyan_checks_motions_or_a_single_image(tmp_path):
    with vendors() as (_, address):
        clips = [small_clip(n) for n in range(6)]
        active = [check("tianyan", address, tmp_path, clip, "blink") for clip in clips]
        silent = check("tianyan", address, tmp_path, clips[0], "smile")
    assert {verdict.live for verdict in active} == {True, False}
    for verdict in active:
        assert [motion["motion"] for motion in verdict.evidence["motions"]] == ["BLINK"]
        assert verdict.live == (verdict.score >= verdict.threshold == 0.2)
    assert silent.evidence["motions"] == []


def test_tianyan_sends_the_configured_field_names(tmp_path):
    with vendors() as (_, address), pytest.raises(StopRun, match="401"):
        # The simulator does not know "app", so the field with the key is missing.
        check("tianyan", address, tmp_path, small_clip(1), "blink", fields={"appid": "app"})


def test_linkface_needs_a_motion(tmp_path):
    with vendors() as (_, address):
        verdict = check("linkface", address, tmp_path, small_clip(1), "yaw", complexity=2)
        assert verdict.live == (verdict.score >= verdict.threshold == 0.5)
        with pytest.raises(ConfigError, match="linkface needs a motion, but the sheet has none for 'smile'"):
            check("linkface", address, tmp_path, small_clip(1), "smile")


@pytest.mark.parametrize("provider", ["baidu", "baidu-picture", "tianyan", "linkface"])
def test_every_fault_is_recovered_and_nothing_is_billed_twice(tmp_path, provider, monkeypatch):
    monkeypatch.setattr("deepfakemnist.liveness.client._FIRST_BACKOFF_S", 0.01)
    clips = [small_clip(n) for n in range(8)]
    with vendors() as (_, address):
        truth = [check(provider, address, tmp_path / "truth", clip, "blink") for clip in clips]
    record = tmp_path / "requests.jsonl"
    plan = FaultPlan(share=0.5, seed=2, hang_s=0.4, slow_s=0.05)
    with vendors(faults=plan, record=record) as (simulator, address):
        settings = {"read_timeout_s": 0.3, "attempts": 12, "on_doubt": "ask"}
        verdicts = [check(provider, address, tmp_path, clip, "blink", **settings) for clip in clips]
        billed = {request: times for request, times in simulator.account.billed.items() if "sessioncode" not in request}
    assert [(v.live, v.score) for v in verdicts] == [(v.live, v.score) for v in truth]
    assert len(billed) == 8
    assert set(billed.values()) == {1}
    faults = [json.loads(line)["fault"] for line in record.read_text().splitlines()]
    assert sum(fault is not None for fault in faults) >= 4, "at least half of eight requests"


def test_an_expired_token_is_renewed_once(tmp_path):
    with vendors(token_s=61) as (_, address):  # renewed 60 s before it expires, so it is valid for one second
        provider = build(settings_for("baidu", address), MOTIONS["baidu"], tmp_path / "answers")
        assert provider.check(small_clip(1), "smile").exchange.attempts == 1
        time.sleep(1.1)
        assert provider.check(small_clip(2), "smile").exchange.attempts == 1
    with (
        vendors(faults=FaultPlan(share=1.0, kinds=("token",))) as (_, address),
        pytest.raises(StopRun, match="110.*The keys have no access"),
    ):
        check("baidu", address, tmp_path, small_clip(3), "smile")


def test_wrong_keys_stop_the_run_and_are_not_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DEEPFAKEMNIST_BAIDU_SECRET_KEY", "s3cr3t-of-mine")
    with (
        vendors() as (_, address),
        pytest.raises(StopRun, match="invalid_client: Client authentication failed") as error,
    ):
        check("baidu", address, tmp_path, small_clip(1), "smile")
    assert "s3cr3t" not in str(error.value) + caplog.text


def test_missing_keys_are_named(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPFAKEMNIST_TIANYAN_APP_SECRET")
    with pytest.raises(ConfigError, match="tianyan needs.*DEEPFAKEMNIST_TIANYAN_APP_SECRET is not set"):
        build(settings_for("tianyan", "http://127.0.0.1:9"), MOTIONS["tianyan"], tmp_path)


@pytest.mark.parametrize("provider", ["baidu", "tianyan", "linkface"])
def test_an_exhausted_quota_at_the_vendor_stops_the_run(tmp_path, provider):
    with vendors(quota=2) as (_, address), pytest.raises(StopRun):
        for number in range(3):
            check(provider, address, tmp_path, small_clip(number), "smile" if provider == "baidu" else "blink")
    answered = list(read_answers(tmp_path / "answers"))
    assert len(answered) == 2
    assert metered(tmp_path, provider)["spent"] == pytest.approx(sum(answer["cost"] for answer in answered))
    assert not list((tmp_path / "answers").rglob("*.asked"))


def test_configured_quota_and_budget_stop_before_sending(tmp_path):
    with vendors() as (simulator, address):
        check("tianyan", address, tmp_path, small_clip(1), "blink", max_spend=0.1)
        with pytest.raises(StopRun, match="0.09 is spent, the next request costs 0.09 and max_spend is 0.1"):
            check("tianyan", address, tmp_path, small_clip(2), "blink", max_spend=0.1)
        with pytest.raises(StopRun, match=r"the 1 requests of \d{4}-\d\d-\d\d \(daily_quota\) are used up"):
            check("tianyan", address, tmp_path, small_clip(2), "blink", daily_quota=1)
        # Cached answers need no quota.
        assert check("tianyan", address, tmp_path, small_clip(1), "blink", daily_quota=1).exchange.cost == 0.09
        assert simulator.account.billed.total() == 1


def test_a_refused_connection_is_a_failure_whose_message_hides_url_and_keys(tmp_path, monkeypatch):
    monkeypatch.setattr("deepfakemnist.liveness.client._FIRST_BACKOFF_S", 0.01)
    with pytest.raises(Failed) as error:
        check("baidu", "http://127.0.0.1:9", tmp_path, small_clip(1), "smile", attempts=2)
    assert error.value.reason == "no_answer"
    assert error.value.detail == "no response after 2 attempts; last error: connection failed (ConnectionError)"


def test_the_ledger_stores_everything_but_keys_and_images(tmp_path):
    clip = small_clip(5)
    with vendors() as (_, address):
        verdict = check("baidu", address, tmp_path, clip, "smile")
    (answer,) = read_answers(tmp_path / "answers")
    upload = encode_clip(clip, UploadSettings(min_side=32, min_seconds=0.2))
    assert answer["pixels_sha256"] == clip.pixels_sha256
    assert answer["upload_sha256"] == hashlib.sha256(upload.data).hexdigest() == verdict.exchange.upload_sha256
    assert answer["response"]["result"]["score"] == verdict.score
    assert answer["response"]["result"]["best_image"]["pic"].startswith("sha256:")
    request = json.dumps(answer["request"], sort_keys=True)
    assert hashlib.sha256(request.encode()).hexdigest() == answer["request_sha256"]
    assert (answer["attempts"], answer["in_doubt"], answer["action"]) == (1, 0, "smile")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["answered_at"])
    for file in (tmp_path / "answers").rglob("*"):
        text = file.read_text() if file.is_file() else ""
        assert KEYS["id"] not in text
        assert KEYS["secret"] not in text
        assert "24." not in text  # prefix of every access token


def test_uploads_respect_the_limits(tmp_path):
    clip = small_clip(1, frames=15)
    (tmp_path / "long.mp4").write_bytes(
        encode_clip(clip, UploadSettings(min_side=64, max_seconds=0.4, min_seconds=0)).data
    )
    facts = probe(tmp_path / "long.mp4")
    assert [facts[name] for name in ("codec", "pix_fmt", "width", "height", "frames")] == [
        "h264",
        "yuv420p",
        64,
        64,
        10,
    ]
    free = UploadSettings(min_side=32, min_seconds=0.5)
    plain = encode_clip(clip, free)
    assert encode_clip(clip, free).sha256 == plain.sha256
    half = free.model_copy(update={"max_bytes": len(plain.data) // 2})
    assert len(encode_clip(clip, half).data) <= len(plain.data) // 2
    with pytest.raises(Rejected, match="0.24 s; the vendor requires at least 1 s"):
        encode_clip(small_clip(1), UploadSettings())
    with pytest.raises(Failed, match="upload_too_large"):
        encode_clip(clip, free.model_copy(update={"max_bytes": 100}))


def fetch_token(address):
    keys = {"grant_type": "client_credentials", "client_id": KEYS["id"], "client_secret": KEYS["secret"]}
    return requests.get(f"{address}/oauth/2.0/token", params=keys, timeout=5).json()["access_token"]


def test_the_simulator_returns_the_error_codes_of_the_vendor():
    clip = base64.b64encode(encode_clip(small_clip(1), UploadSettings(min_side=32, min_seconds=0.2)).data).decode()
    with vendors(envelope="new") as (_, address):
        token = {"access_token": fetch_token(address)}

        def code(path, params=token, **content):
            answer = requests.post(f"{address}/rest/2.0/face/{path}", params=params, timeout=5, **content).json()
            return answer["error_code"]

        verify = "v1/faceliveness/verify"
        assert code(verify, data={"video_base64": clip}) == 0
        assert code(verify, params={}, data={"video_base64": clip}) == 100
        assert code(verify, params={"access_token": "x"}, data={"video_base64": clip}) == 110
        assert code(verify, json={"video_base64": clip}) == 216100
        assert code(verify, data={"video_base64": f"data:video/mp4;base64,{clip}"}) == 216508
        assert code(verify, data={"video_base64": base64.b64encode(b"no video").decode()}) == 216508
        assert code(verify, data={"video_base64": clip, "type_identify": "action", "session_id": "S1"}) == 216502
        answer = requests.post(
            f"{address}/rest/2.0/face/v1/faceliveness/sessioncode", params=token, json={"type": 1}, timeout=5
        ).json()["result"]
        assert re.fullmatch(r"[0457]{1,3}", answer["code"])
        action = {"video_base64": clip, "type_identify": "action", "session_id": answer["session_id"]}
        assert [code(verify, data=action), code(verify, data=action)] == [0, 216502]
        assert code("v3/faceverify", json={"image": "x"}) == 222001
        assert code("v3/faceverify", json=[{"image": "eA==", "image_type": "BASE64"}]) == 222202
    with vendors(qps=2, envelope="new") as (_, address):
        token = {"access_token": fetch_token(address)}
        assert [code(verify, params=token, data={"video_base64": clip}) for _ in range(3)] == [0, 0, 18]


def test_a_missing_threshold_is_an_error():
    body = {"error_code": 0, "result": {"score": 0.9, "thresholds": {"frr_1e-4": 0.1}}}
    assert decide_by_threshold(body, "score", "frr_1e-4").live
    with pytest.raises(Failed, match=r"no_threshold: Baidu returned thresholds \['frr_1e-4'\], not frr_1e-3"):
        decide_by_threshold(body, "score", "frr_1e-3")


def test_rejections_of_the_clip_are_verdicts_with_a_reason():
    verdict = decide_by_threshold({"err_no": 216501, "err_msg": "not found face"}, "score", "frr_1e-3")
    assert (verdict.live, verdict.score, verdict.evidence["reason"]) == (False, None, "no_face")


def test_the_simulator_answers_from_the_local_detectors(tmp_path, tilting, nobody):
    """A tilting head is live but does not nod; an empty room is not live."""
    head = Clip(tilting, 25.0, pixels_sha256(tilting))
    flicker = np.stack([nobody, nobody + 9] * 5)
    room = Clip(flicker, 25.0, pixels_sha256(flicker))
    motions = {**MOTIONS["baidu"], "nod": "5"}
    with vendors(witness=LocalWitness()) as (_, address):
        provider = build(settings_for("baidu", address), motions, tmp_path)
        silent, nod, empty = provider.check(head, "smile"), provider.check(head, "nod"), provider.check(room, "smile")
        image = build(settings_for("baidu-picture", address, frames=2), {}, tmp_path)
        assert [image.check(clip, "smile").live for clip in (head, room)] == [True, False]
    assert (silent.live, silent.score) == (True, 1.0)
    assert (nod.live, nod.evidence["reason"], nod.evidence["action_verify"]) == (False, "action_not_seen", "fail")
    assert (empty.live, empty.evidence["reason"]) == (False, "no_face")


def test_an_answer_without_a_verdict_is_stored_and_not_billed_again(tmp_path, monkeypatch):
    lacking = {"frr_1e-4": 0.05}
    monkeypatch.setattr("deepfakemnist.liveness.simulator.baidu._THRESHOLDS", lacking)
    with vendors() as (simulator, address):
        for _ in range(2):
            with pytest.raises(Failed, match="no_threshold"):
                check("baidu", address, tmp_path, small_clip(1), "smile")
        assert check("baidu", address, tmp_path, small_clip(1), "smile", threshold="frr_1e-4").threshold == 0.05
        assert simulator.account.billed.total() == 1
