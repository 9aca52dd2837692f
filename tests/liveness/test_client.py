"""Retries, back-off and billing of the HTTP client, against a server with scripted responses."""

import json
import time
from email.utils import formatdate

import pytest
from simulated_vendors import ENVIRONMENT, MOTIONS, scripted, settings_for, small_clip

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.client import _FIRST_BACKOFF_S, _MAX_BACKOFF_S, Client, _backoff
from deepfakemnist.liveness.meter import Meter, StopRun
from deepfakemnist.liveness.registry import build

pytestmark = pytest.mark.slow

GOOD = json.dumps({"answer": 1})


def call(address, tmp_path, **settings):
    """Send one request; return the number of attempts, the waits between them, and the meter."""
    settings = settings_for("tianyan", address, **settings)
    meter, waits = Meter(tmp_path / "meter.json", settings), []
    client = Client(settings, meter, sleep=waits.append)
    reply = client.call(lambda session: client.post(session, "/check"), lambda body: None, price=0.5)
    assert reply.body == {"answer": 1}
    return reply.attempts, waits, meter


@pytest.mark.parametrize("status", [408, 425, 500, 503, 507, 599])
def test_server_errors_are_retried_with_back_off_and_cost_nothing(tmp_path, status):
    with scripted((status, {}, "no"), (status, {}, "no"), (200, {}, GOOD)) as address:
        attempts, waits, meter = call(address, tmp_path)
    assert attempts == 3
    assert _FIRST_BACKOFF_S / 2 <= waits[0] <= _FIRST_BACKOFF_S <= waits[1] <= 2 * _FIRST_BACKOFF_S
    assert (meter.read().spent, meter.read().in_doubt, meter.read().today) == (0.5, 0.0, 3)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("3", 3, 3), ("0", 0, 0), ("3600", _MAX_BACKOFF_S, _MAX_BACKOFF_S), ("-2", 0, 0), ("soon", 0.25, 0.5)],
)
def test_retry_after_is_honoured_within_bounds(tmp_path, header, low, high):
    with scripted((503, {"Retry-After": header}, ""), (200, {}, GOOD)) as address:
        _, (wait,), _ = call(address, tmp_path)
    assert low <= wait <= high


def test_retry_after_may_be_a_date(tmp_path):
    date = formatdate(time.time() + 20, usegmt=True)
    with scripted((503, {"Retry-After": date}, ""), (200, {}, GOOD)) as address:
        _, (wait,), _ = call(address, tmp_path)
    assert 15 <= wait <= 20


def test_too_many_requests_pause_all_jobs(tmp_path):
    with scripted((429, {"Retry-After": "0.3"}, ""), (200, {}, GOOD)) as address:
        began = time.monotonic()
        attempts, waits, _ = call(address, tmp_path)
    assert (attempts, waits) == (2, []), "the shared meter waits, not the job"
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("text", ['{"answer": ', "<html>", "[1]", ""])
def test_a_lost_response_is_retried_and_counted_as_in_doubt(tmp_path, text):
    with scripted((200, {}, text), (200, {}, GOOD)) as address:
        attempts, _, meter = call(address, tmp_path)
    assert attempts == 2
    assert (meter.read().spent, meter.read().in_doubt) == (1.0, 0.5)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 501, 505, 511])
def test_permanent_errors_stop_the_run_at_once(tmp_path, status):
    with (
        scripted((status, {"Location": "http://127.0.0.1:9/"}, "no")) as address,
        pytest.raises(StopRun, match=f"HTTP status {status}"),
    ):
        call(address, tmp_path)


def test_attempts_are_bounded(tmp_path):
    with (
        scripted(*[(503, {}, "no")] * 3) as address,
        pytest.raises(Failed, match="no response after 3 attempts; last error: HTTP status 503"),
    ):
        call(address, tmp_path, attempts=3)


def test_back_off_doubles_with_jitter_up_to_a_bound():
    for attempt in range(1, 12):
        most = min(_FIRST_BACKOFF_S * 2 ** (attempt - 1), _MAX_BACKOFF_S)
        waits = [_backoff(attempt) for _ in range(50)]
        assert all(most / 2 <= wait <= most for wait in waits)
        assert len(set(waits)) > 40, "jobs rejected at the same moment do not retry at the same moment"


@pytest.mark.parametrize("code", [100, 110, 111])
@pytest.mark.parametrize("names", [("error_code", "error_msg"), ("err_no", "err_msg")])
def test_baidu_fetches_a_new_token_when_the_old_one_is_rejected(tmp_path, monkeypatch, code, names):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    result = {"score": 0.5, "thresholds": {"frr_1e-3": 0.3}}
    bodies = [
        {"access_token": "one", "expires_in": 1000},
        dict(zip(names, (code, "Access token invalid"), strict=True)),
        {"access_token": "two", "expires_in": 1000},
        {**dict(zip(names, (0, "SUCCESS"), strict=True)), "result": result},
    ]
    with scripted(*((200, {}, json.dumps(body)) for body in bodies)) as address:
        verdict = build(settings_for("baidu", address), MOTIONS["baidu"], tmp_path).check(small_clip(1), "smile")
    assert (verdict.live, verdict.score, verdict.threshold, verdict.exchange.attempts) == (True, 0.5, 0.3, 2)
    assert verdict.exchange.cost == 0.2
