"""Conformance of the Baidu simulator, tested with Baidu's own SDK (baidu-aip) as an independent client.

Baidu's other SDK, baiducloud-python-sdk-face 0.0.1, lacks a module of its core (0.0.6) and cannot be imported.
"""

import base64

import pytest
from simulated_vendors import small_clip, vendors

from deepfakemnist.config.liveness import UploadSettings
from deepfakemnist.liveness.simulator.contract import KEYS
from deepfakemnist.liveness.upload import encode_clip, encode_image

LIMITS = UploadSettings(min_side=32, min_seconds=0.2)
BAIDU = "https://aip.baidubce.com"


@pytest.fixture(scope="module")
def video():
    return base64.b64encode(encode_clip(small_clip(1), LIMITS).data).decode()


@pytest.fixture
def aip_face(monkeypatch):
    """Return a factory of baidu-aip clients; only the base URL in their class attributes is replaced."""
    aip = pytest.importorskip("aip", reason="the package baidu-aip is not installed")

    addresses = [
        (one, name, value.removeprefix(BAIDU))
        for one in aip.AipFace.__mro__[:-1]
        for name, value in vars(one).items()
        if isinstance(value, str) and value.startswith(BAIDU)
    ]

    def make(address):
        for one, name, path in addresses:
            monkeypatch.setattr(one, name, address + path)
        return aip.AipFace("app", KEYS["id"], KEYS["secret"])

    return make


def test_baidu_aip_runs_passive_liveness_on_a_video(aip_face, video):
    with vendors() as (simulator, address):
        answer = aip_face(address).facelivenessVerifyV1(video, {"face_field": "spoofing"})
        assert (answer["error_code"], answer["err_no"]) == (0, 0)
        assert 0 <= answer["result"]["score"] <= 1
        assert answer["result"]["thresholds"]["frr_1e-3"] == 0.3
        assert answer["result"]["pic_list"][0]["spoofing"] < 0.01
        assert simulator.account.billed.total() == 1


def test_baidu_aip_uses_a_session_code_for_one_action_check(aip_face, video):
    with vendors() as (_, address):
        client = aip_face(address)
        session = client.videoSessioncode({"type": 1, "min_code_length": 1, "max_code_length": 1})["result"]
        assert session["code"] in "0457"
        options = {"type_identify": "action", "session_id": session["session_id"]}
        first, second = (client.facelivenessVerifyV1(video, options) for _ in range(2))
    assert first["result"]["action_verify"] in ("pass", "fail")
    assert first["result"]["code"]["create"] == session["code"]
    assert second["error_code"] == 216502


def test_baidu_aip_sends_images(aip_face):
    frames = [encode_image(frame, LIMITS).data for frame in small_clip(2).frames[:3]]
    images = [{"image": base64.b64encode(data).decode(), "image_type": "BASE64"} for data in frames]
    with vendors() as (simulator, address):
        answer = aip_face(address).faceverify(images)
        assert list(simulator.account.billed.values()) == [1]
    scores = [face["liveness"]["livemapscore"] for face in answer["result"]["face_list"]]
    assert answer["result"]["face_liveness"] == max(scores)
    assert len(scores) == 3


@pytest.mark.slow
def test_baidu_aip_gets_the_error_codes_of_baidu(aip_face, video):
    with vendors(qps=1) as (_, address):
        client = aip_face(address)
        codes = [client.facelivenessVerifyV1(video)["error_code"] for _ in range(2)]
        assert codes == [0, 18]
    with vendors() as (_, address):
        assert aip_face(address).facelivenessVerifyV1(f"data:video/mp4;base64,{video}")["error_code"] == 216508
