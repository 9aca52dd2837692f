"""Vendors over real HTTP: the simulator on the loopback address, asked through the public door."""

import base64
import hashlib
import json
import re
import time

import numpy as np
import pytest
import requests
from simulated import ENVIRONMENT, MOTIONS, settings_for, small_clip, vendors

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


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def ask(provider, address, tmp_path, clip, action, **settings):
    built = build(settings_for(provider, address, **settings), MOTIONS[provider], tmp_path / "answers")
    return built.check(clip, action)


def spent(tmp_path, provider):
    return json.loads(meter_path(tmp_path / "answers", provider).read_text())


@pytest.mark.parametrize("envelope", ["new", "old", "both"])
def test_silent_video_is_decided_by_the_returned_threshold_in_either_envelope(tmp_path, envelope):
    with vendors(envelope=envelope) as (simulator, address):
        verdicts = [ask("baidu", address, tmp_path, small_clip(n), "smile") for n in range(6)]
        assert simulator.books.billed.total() == 6
    for verdict in verdicts:
        assert verdict.threshold == 0.3
        assert verdict.live == (verdict.score > 0.3)
        assert verdict.evidence["thresholds"] == {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}
        assert verdict.exchange.cost == 0.2
    assert {verdict.live for verdict in verdicts} == {True, False}


def test_another_threshold_decides_anew_without_asking(tmp_path):
    with vendors() as (simulator, address):
        scores = {n: ask("baidu", address, tmp_path, small_clip(n), "smile").score for n in range(6)}
        between = next(n for n, score in scores.items() if 0.3 < score <= 0.9)
        strict = ask("baidu", address, tmp_path, small_clip(between), "smile", threshold="frr_1e-2")
        assert (strict.live, strict.threshold, strict.evidence["reason"]) == (False, 0.9, "not_live")
        assert simulator.books.billed.total() == 6
    assert spent(tmp_path, "baidu")["spent"] == pytest.approx(1.2)


def test_an_action_is_asked_for_by_a_code_that_commands_it(tmp_path):
    with vendors() as (_, address):
        verdicts = [ask("baidu", address, tmp_path, small_clip(n), "yaw") for n in range(4)]
    for verdict in verdicts:
        assert verdict.evidence["action_verify"] in ("pass", "fail")
        if verdict.evidence["action_verify"] == "fail":
            assert not verdict.live
        # The video, and 0.01 for each code that was drawn.
        assert verdict.exchange.cost == pytest.approx(0.2 + 0.01 * (verdict.exchange.attempts - 1))
    assert sum(verdict.exchange.attempts for verdict in verdicts) > 8
    assert spent(tmp_path, "baidu")["spent"] == pytest.approx(sum(verdict.exchange.cost for verdict in verdicts))


def test_draws_are_bounded(tmp_path):
    with vendors() as (_, address), pytest.raises(Failed, match=r"none of 1 random codes was 0 \(max_draws\)"):
        for number in range(20):
            ask("baidu", address, tmp_path, small_clip(number), "blink", max_draws=1)


def test_pictures_go_in_one_request(tmp_path):
    with vendors() as (simulator, address):
        verdict = ask("baidu-picture", address, tmp_path, small_clip(1), "yaw", frames=4)
        assert list(simulator.books.billed.values()) == [1]
    assert verdict.live == (verdict.score > verdict.threshold == 0.3)
    assert verdict.exchange.cost == 0.002


def test_tianyan_looks_for_motions_and_at_a_picture_without(tmp_path):
    with vendors() as (_, address):
        clips = [small_clip(n) for n in range(6)]
        asked = [ask("tianyan", address, tmp_path, clip, "blink") for clip in clips]
        silent = ask("tianyan", address, tmp_path, clips[0], "smile")
    assert {verdict.live for verdict in asked} == {True, False}
    for verdict in asked:
        assert [motion["motion"] for motion in verdict.evidence["motions"]] == ["BLINK"]
        assert verdict.live == (verdict.score >= verdict.threshold == 0.2)
    assert silent.evidence["motions"] == []


def test_tianyan_speaks_other_names(tmp_path):
    with vendors() as (_, address), pytest.raises(StopRun, match="401"):
        # The simulator knows no "app": the field that should hold the key is missing.
        ask("tianyan", address, tmp_path, small_clip(1), "blink", fields={"appid": "app"})


def test_linkface_needs_a_motion(tmp_path):
    with vendors() as (_, address):
        verdict = ask("linkface", address, tmp_path, small_clip(1), "yaw", complexity=2)
        assert verdict.live == (verdict.score >= verdict.threshold == 0.5)
        with pytest.raises(ConfigError, match="linkface must be asked for a motion.*'smile'"):
            ask("linkface", address, tmp_path, small_clip(1), "smile")


@pytest.mark.parametrize("provider", ["baidu", "baidu-picture", "tianyan", "linkface"])
def test_every_fault_is_survived_and_nothing_is_billed_twice(tmp_path, provider, monkeypatch):
    monkeypatch.setattr("deepfakemnist.liveness.client._FIRST_WAIT_S", 0.01)
    clips = [small_clip(n) for n in range(8)]
    with vendors() as (_, address):
        truth = [ask(provider, address, tmp_path / "truth", clip, "blink") for clip in clips]
    record = tmp_path / "requests.jsonl"
    plan = FaultPlan(share=0.5, seed=2, hang_s=0.4, slow_s=0.05)
    with vendors(faults=plan, record=record) as (simulator, address):
        settings = {"read_timeout_s": 0.3, "attempts": 12}
        verdicts = [ask(provider, address, tmp_path, clip, "blink", **settings) for clip in clips]
        billed = {
            question: times for question, times in simulator.books.billed.items() if "sessioncode" not in question
        }
    assert [(v.live, v.score) for v in verdicts] == [(v.live, v.score) for v in truth]
    assert len(billed) == 8
    assert set(billed.values()) == {1}
    faults = [json.loads(line)["fault"] for line in record.read_text().splitlines()]
    assert sum(fault is not None for fault in faults) >= 4, "half of eight requests and more"


def test_a_token_that_ends_is_renewed_once(tmp_path):
    with vendors(token_s=61) as (_, address):  # renewed 60 s before its end, so it lives for one second
        provider = build(settings_for("baidu", address), MOTIONS["baidu"], tmp_path / "answers")
        assert provider.check(small_clip(1), "smile").exchange.attempts == 1
        time.sleep(1.1)
        assert provider.check(small_clip(2), "smile").exchange.attempts == 1
    with (
        vendors(faults=FaultPlan(share=1.0, kinds=("token",))) as (_, address),
        pytest.raises(StopRun, match="110.*The keys do not open"),
    ):
        ask("baidu", address, tmp_path, small_clip(3), "smile")


def test_wrong_keys_stop_the_run_and_are_not_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DEEPFAKEMNIST_BAIDU_SECRET_KEY", "s3cr3t-of-mine")
    with (
        vendors() as (_, address),
        pytest.raises(StopRun, match="invalid_client: Client authentication failed") as error,
    ):
        ask("baidu", address, tmp_path, small_clip(1), "smile")
    assert "s3cr3t" not in str(error.value) + caplog.text


def test_missing_keys_are_named(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPFAKEMNIST_TIANYAN_APP_SECRET")
    with pytest.raises(ConfigError, match="tianyan needs.*DEEPFAKEMNIST_TIANYAN_APP_SECRET is not set"):
        build(settings_for("tianyan", "http://127.0.0.1:9"), MOTIONS["tianyan"], tmp_path)


@pytest.mark.parametrize("provider", ["baidu", "tianyan", "linkface"])
def test_used_up_at_the_vendor_stops_the_run(tmp_path, provider):
    with vendors(quota=2) as (_, address), pytest.raises(StopRun):
        for number in range(3):
            ask(provider, address, tmp_path, small_clip(number), "smile" if provider == "baidu" else "blink")
    answered = list(read_answers(tmp_path / "answers"))
    assert len(answered) == 2
    assert spent(tmp_path, provider)["spent"] == pytest.approx(sum(answer["cost"] for answer in answered))
    assert not list((tmp_path / "answers").rglob("*.asked"))


def test_own_quota_and_budget_stop_before_sending(tmp_path):
    with vendors() as (simulator, address):
        ask("tianyan", address, tmp_path, small_clip(1), "blink", max_spend=0.1)
        with pytest.raises(StopRun, match="0.09 is spent, the next request costs 0.09 and max_spend is 0.1"):
            ask("tianyan", address, tmp_path, small_clip(2), "blink", max_spend=0.1)
        with pytest.raises(StopRun, match=r"the 1 requests of \d{4}-\d\d-\d\d \(daily_quota\) are used up"):
            ask("tianyan", address, tmp_path, small_clip(2), "blink", daily_quota=1)
        # What is known already is told whatever is left.
        assert ask("tianyan", address, tmp_path, small_clip(1), "blink", daily_quota=1).exchange.cost == 0.09
        assert simulator.books.billed.total() == 1


def test_nobody_there_is_a_failure_without_the_address_and_its_keys(tmp_path, monkeypatch):
    monkeypatch.setattr("deepfakemnist.liveness.client._FIRST_WAIT_S", 0.01)
    with pytest.raises(Failed) as error:
        ask("baidu", "http://127.0.0.1:9", tmp_path, small_clip(1), "smile", attempts=2)
    assert error.value.reason == "no_answer"
    assert error.value.detail == "no answer after 2 attempts; the last one: the connection broke (ConnectionError)"


def test_the_ledger_keeps_everything_but_keys_and_pictures(tmp_path):
    clip = small_clip(5)
    with vendors() as (_, address):
        verdict = ask("baidu", address, tmp_path, clip, "smile")
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
        assert "24." not in text  # how every access token begins


def test_uploads_keep_to_the_limits(tmp_path):
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
    with pytest.raises(Rejected, match="0.24 s; the vendor takes 1 s and longer"):
        encode_clip(small_clip(1), UploadSettings())
    with pytest.raises(Failed, match="upload_too_large"):
        encode_clip(clip, free.model_copy(update={"max_bytes": 100}))


def token_of(address):
    keys = {"grant_type": "client_credentials", "client_id": KEYS["id"], "client_secret": KEYS["secret"]}
    return requests.get(f"{address}/oauth/2.0/token", params=keys, timeout=5).json()["access_token"]


def test_the_simulator_refuses_as_the_vendor_does():
    clip = base64.b64encode(encode_clip(small_clip(1), UploadSettings(min_side=32, min_seconds=0.2)).data).decode()
    with vendors(envelope="new") as (_, address):
        token = {"access_token": token_of(address)}

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
        token = {"access_token": token_of(address)}
        assert [code(verify, params=token, data={"video_base64": clip}) for _ in range(3)] == [0, 0, 18]


def test_a_vendor_that_names_no_such_threshold_is_an_error():
    body = {"error_code": 0, "result": {"score": 0.9, "thresholds": {"frr_1e-4": 0.1}}}
    assert decide_by_threshold(body, "score", "frr_1e-4").live
    with pytest.raises(Failed, match=r"no_threshold: Baidu returned thresholds \['frr_1e-4'\], not frr_1e-3"):
        decide_by_threshold(body, "score", "frr_1e-3")


def test_refusals_of_the_clip_are_verdicts_with_a_reason():
    verdict = decide_by_threshold({"err_no": 216501, "err_msg": "not found face"}, "score", "frr_1e-3")
    assert (verdict.live, verdict.score, verdict.evidence["reason"]) == (False, None, "no_face")


def test_the_local_detectors_answer_for_the_vendors(tmp_path, tilting, nobody):
    """A tilting head is a live video without a nod; a room with nobody is none."""
    head = Clip(tilting, 25.0, pixels_sha256(tilting))
    flicker = np.stack([nobody, nobody + 9] * 5)
    room = Clip(flicker, 25.0, pixels_sha256(flicker))
    motions = {**MOTIONS["baidu"], "nod": "5"}
    with vendors(witness=LocalWitness()) as (_, address):
        provider = build(settings_for("baidu", address), motions, tmp_path)
        silent, nod, empty = provider.check(head, "smile"), provider.check(head, "nod"), provider.check(room, "smile")
        picture = build(settings_for("baidu-picture", address, frames=2), {}, tmp_path)
        assert [picture.check(clip, "smile").live for clip in (head, room)] == [True, False]
    assert (silent.live, silent.score) == (True, 1.0)
    assert (nod.live, nod.evidence["reason"], nod.evidence["action_verify"]) == (False, "action_not_seen", "fail")
    assert (empty.live, empty.evidence["reason"]) == (False, "no_face")


def test_an_answer_that_nothing_follows_from_is_kept_and_not_paid_for_again(tmp_path, monkeypatch):
    lacking = {"frr_1e-4": 0.05}
    monkeypatch.setattr("deepfakemnist.liveness.simulator.baidu._THRESHOLDS", lacking)
    with vendors() as (simulator, address):
        for _ in range(2):
            with pytest.raises(Failed, match="no_threshold"):
                ask("baidu", address, tmp_path, small_clip(1), "smile")
        assert ask("baidu", address, tmp_path, small_clip(1), "smile", threshold="frr_1e-4").threshold == 0.05
        assert simulator.books.billed.total() == 1
