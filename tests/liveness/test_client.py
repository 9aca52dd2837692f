"""What is tried again, how long is waited before, and what is not, against a server that answers as it is told."""

import json
import time
from contextlib import contextmanager
from email.utils import formatdate
from threading import Thread

import pytest
from simulated import settings_for
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.client import _FIRST_WAIT_S, _LAST_WAIT_S, Client, _wait
from deepfakemnist.liveness.meter import Meter, StopRun

GOOD = json.dumps({"answer": 1})


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        """Nothing."""


@contextmanager
def server(*replies):
    """Answer with ``replies``, (status, headers, text) each, one after the other; yield the address."""
    left = list(replies)

    def app(environ, start_response):
        status, headers, text = left.pop(0)
        return Response(text, status=status, headers=headers)(environ, start_response)

    running = make_server("127.0.0.1", 0, app, request_handler=Quiet)
    thread = Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
    assert not left, "not every reply was asked for"


def call(address, tmp_path, **settings):
    """Ask once; return the attempts it took, what was waited between them, and the meter."""
    settings = settings_for("tianyan", address, **settings)
    meter, waits = Meter(tmp_path / "meter.json", settings), []
    asking = Client(settings, meter, sleep=waits.append)
    reply = asking.call(lambda session: asking.post(session, "/check"), lambda body: None, price=0.5)
    assert reply.body == {"answer": 1}
    return reply.attempts, waits, meter


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again_after_a_wait_and_costs_nothing(tmp_path, status):
    with server((status, {}, "no"), (status, {}, "no"), (200, {}, GOOD)) as address:
        attempts, waits, meter = call(address, tmp_path)
    assert attempts == 3
    assert _FIRST_WAIT_S / 2 <= waits[0] <= _FIRST_WAIT_S <= waits[1] <= 2 * _FIRST_WAIT_S
    assert (meter.read().spent, meter.read().in_doubt, meter.read().today) == (0.5, 0.0, 3)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("3", 3, 3), ("0", 0, 0), ("3600", _LAST_WAIT_S, _LAST_WAIT_S), ("-2", 0, 0), ("soon", 0.25, 0.5)],
)
def test_retry_after_is_honoured_within_bounds(tmp_path, header, low, high):
    with server((503, {"Retry-After": header}, ""), (200, {}, GOOD)) as address:
        _, (wait,), _ = call(address, tmp_path)
    assert low <= wait <= high


def test_retry_after_may_be_a_date(tmp_path):
    date = formatdate(time.time() + 20, usegmt=True)
    with server((503, {"Retry-After": date}, ""), (200, {}, GOOD)) as address:
        _, (wait,), _ = call(address, tmp_path)
    assert 15 <= wait <= 20


def test_too_many_requests_hold_all_jobs_up(tmp_path):
    with server((429, {"Retry-After": "0.3"}, ""), (200, {}, GOOD)) as address:
        began = time.monotonic()
        attempts, waits, _ = call(address, tmp_path)
    assert (attempts, waits) == (2, []), "the meter waits, which all jobs share"
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("text", ['{"answer": ', "<html>", "[1]", ""])
def test_an_answer_that_was_lost_is_asked_for_again_and_counted_as_in_doubt(tmp_path, text):
    with server((200, {}, text), (200, {}, GOOD)) as address:
        attempts, _, meter = call(address, tmp_path)
    assert attempts == 2
    assert (meter.read().spent, meter.read().in_doubt) == (1.0, 0.5)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404])
def test_what_cannot_pass_stops_the_run_at_once(tmp_path, status):
    with (
        server((status, {"Location": "http://127.0.0.1:9/"}, "no")) as address,
        pytest.raises(StopRun, match=f"HTTP status {status}"),
    ):
        call(address, tmp_path)


def test_attempts_end(tmp_path):
    with (
        server(*[(503, {}, "no")] * 3) as address,
        pytest.raises(Failed, match="no answer after 3 attempts; the last one: HTTP status 503"),
    ):
        call(address, tmp_path, attempts=3)


def test_waits_double_with_jitter_up_to_a_bound():
    for attempt in range(1, 12):
        most = min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LAST_WAIT_S)
        waits = [_wait(attempt) for _ in range(50)]
        assert all(most / 2 <= wait <= most for wait in waits)
        assert len(set(waits)) > 40, "jobs that were refused together do not come back together"
