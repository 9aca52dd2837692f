"""Limits of one exchange over real sockets: deadline, size, compression, redirects, encryption."""

import gzip
import json
import logging
import socket
import threading
import time
import tracemalloc
import zlib
from contextlib import contextmanager, suppress

import pytest
from pydantic import ValidationError
from simulated_vendors import ENVIRONMENT, MOTIONS, scripted, settings_for, small_clip, vendors

from deepfakemnist.errors import Failed
from deepfakemnist.liveness.client import Client
from deepfakemnist.liveness.ledger import read_doubts
from deepfakemnist.liveness.meter import Meter, StopRun
from deepfakemnist.liveness.registry import build, meter_path
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.transport import CannotSend, TransientError, exchange

GOOD = b'{"code": 200, "data": {"passed": true}}'


@contextmanager
def raw_server(answer):
    """Accept connections one by one; ``answer`` gets each connection. Yield the base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # the client has hung up
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=10)


def get(address, deadline_s=5.0, data=b"", **limits):
    return exchange(lambda session: session.post(address, data=data, timeout=5, stream=True), deadline_s, **limits)


def drip(data, before=b""):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(before)
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            time.sleep(0.05)

    return answer


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "dripped"),
    [(b"", HEAD + GOOD), (HEAD, GOOD), (b"HTTP/1.0 200 OK\r\n\r\n", GOOD + b" " * 1000), (b"", b"H" * 1000)],
)
def test_a_slow_response_is_cut_off_at_the_deadline(before, dripped):
    with raw_server(drip(dripped, before)) as address:
        began = time.monotonic()
        with pytest.raises(TransientError, match=r"no complete response within 0.4 s \(deadline_s\)") as error:
            get(address, deadline_s=0.4)
        assert 0.3 < time.monotonic() - began < 2
    assert error.value.in_doubt


@pytest.mark.slow
def test_a_server_that_takes_no_upload_is_cut_off_and_has_billed_nothing():
    with (
        raw_server(lambda connection: time.sleep(2)) as address,
        pytest.raises(TransientError, match="deadline_s") as error,
    ):
        get(address, deadline_s=0.5, data=b"x" * 50_000_000)
    assert not error.value.in_doubt, "a request that has not left completely cannot be answered"


@pytest.mark.slow
def test_an_upload_may_take_longer_than_a_connection():
    """The connect timeout bounds the connection, not the upload."""

    def slow_reader(connection):
        left = 3_000_000
        while left > 0:
            left -= len(connection.recv(200_000))
            time.sleep(0.05)
        connection.sendall(HEAD + GOOD)

    with raw_server(slow_reader) as address:
        response = exchange(
            lambda session: session.post(address, data=b"x" * 3_000_000, timeout=(0.3, 5), stream=True), 20
        )
    assert response.text == GOOD.decode()


def test_what_never_connected_is_not_in_doubt():
    with pytest.raises(TransientError, match="connection failed") as error:
        get("http://127.0.0.1:9")
    assert not error.value.in_doubt
    with pytest.raises(CannotSend):
        get("nothing://here")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", ""])
def test_bodies_are_read_whatever_their_compression(encoding):
    body = gzip.compress(GOOD) if encoding == "gzip" else GOOD
    if encoding == "deflate":
        body = zlib.compress(GOOD)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body))

    def answer(connection):
        assert b"Accept-Encoding: identity" in connection.recv(65536)
        connection.sendall(head + body)

    with raw_server(answer) as address:
        assert get(address).text == GOOD.decode()


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False])
def test_a_body_beyond_the_limit_is_refused_with_little_memory(compressed):
    bomb = gzip.compress(b" " * 40_000_000) if compressed else b""
    encoding = b"Content-Encoding: gzip\r\n" if compressed else b""

    def answer(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + encoding + b"\r\n")
        connection.sendall(bomb)
        while not compressed:
            connection.sendall(b" " * 1_000_000)

    with raw_server(answer) as address:
        tracemalloc.start()
        with pytest.raises(TransientError, match="exceeds 1,000,000 bytes") as error:
            get(address, deadline_s=30, max_bytes=1_000_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert error.value.in_doubt
    assert peak < 8_000_000


@pytest.mark.parametrize(
    "text",
    [
        b"\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"\x16\x03\x01" * 30,
    ],
)
def test_malformed_http_is_a_lost_response(text):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(text)

    with raw_server(answer) as address, pytest.raises(TransientError) as error:
        get(address, deadline_s=2)
    assert error.value.in_doubt


@pytest.mark.slow
def test_malformed_headers_put_no_url_into_the_log(tmp_path, caplog):
    def answer(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD)

    caplog.set_level(logging.DEBUG)
    with raw_server(answer) as address:
        settings = settings_for("tianyan", address)
        Client(settings, Meter(tmp_path / "meter.json", settings)).call(
            lambda session: session.post(f"{address}/?key=s3cr3t-key", stream=True, timeout=5), lambda body: None, 0.0
        )
    assert "s3cr3t" not in caplog.text


@pytest.mark.slow
def test_keys_are_not_sent_where_a_redirect_points(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with scripted() as elsewhere:  # fails at the first request
        for status in (301, 302, 303, 307, 308):
            with scripted((status, {"Location": elsewhere}, "")) as address:
                provider = build(settings_for("tianyan", address), MOTIONS["tianyan"], tmp_path / str(status))
                with pytest.raises(StopRun, match=f"HTTP status {status}"):
                    provider.check(small_clip(1), "blink")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://aip.baidubce.com", True),
        ("http://127.0.0.1:8731", True),
        ("http://127.8.9.1", True),
        ("http://localhost:80/v2", True),
        ("http://[::1]:80", True),
        ("http://aip.baidubce.com", False),
        ("http://192.168.1.5", False),
        ("http://0.0.0.0:80", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("HTTPS://aip.baidubce.com", False),
        ("http://user@127.0.0.1", False),
        ("ftp://127.0.0.1", False),
    ],
)
def test_keys_leave_this_machine_encrypted_only(url, allowed):
    if allowed:
        assert settings_for("baidu", url).base_url == url
    else:
        with pytest.raises(ValidationError, match="base_url"):
            settings_for("baidu", url)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["drip", "bomb"])
def test_a_vendor_that_drips_or_sends_a_bomb_costs_one_price_and_little_time(tmp_path, monkeypatch, fault):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with vendors(faults=FaultPlan(share=1.0, kinds=(fault,), drip_s=0.2)) as (simulator, address):
        provider = build(settings_for("tianyan", address, deadline_s=3), MOTIONS["tianyan"], tmp_path)
        for _ in range(2):
            with pytest.raises(Failed, match="in_doubt.*(deadline_s|exceeds)"):
                provider.check(small_clip(1), "blink")
        assert list(simulator.account.billed.values()) == [1]
    assert len(list(read_doubts(tmp_path))) == 1
    assert json.loads(meter_path(tmp_path, "tianyan").read_text())["spent"] == pytest.approx(0.09)
