"""One HTTP exchange with a total deadline and a limit on the response's size, compressed or not.

Timeouts of HTTP libraries bound the wait for the next byte, not the exchange: a server that sends a byte per second
keeps a job for ever. A timer therefore shuts the connection down. Connections are not reused: one that the server has
closed meanwhile cannot be told from a response that got lost, which may be billed.
"""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: Baidu's response is the largest: up to eight frames of an upload of at most 2 MB (``upload.max_bytes``), in base64.
MAX_BODY_BYTES = 16_000_000
_CHUNK = 65_536
# They log whole URLs, keys included, at level DEBUG and about malformed headers.
for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").disabled = True
#: Of requests that cannot be sent; the same classes stand for malformed responses once the request has left.
_MALFORMED = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.MissingSchema,
)


class TransientError(Exception):
    """The attempt got no usable response; the same request may be retried.

    Args:
        reason: what went wrong, for the log.
        wait_s: seconds the vendor asks to wait; None: the usual back-off.
        rate_limited: the rate limit was exceeded, so all jobs must wait.
        in_doubt: the request was sent and its response was lost or is not the vendor's, so only the vendor knows
            whether it was billed.
        text: what arrived of such a response.
    """

    def __init__(
        self,
        reason: str,
        *,
        wait_s: float | None = None,
        rate_limited: bool = False,
        in_doubt: bool = False,
        text: str = "",
    ) -> None:
        super().__init__(reason)
        self.wait_s, self.rate_limited, self.in_doubt, self.text = wait_s, rate_limited, in_doubt, text


class CannotSend(Exception):
    """The request is malformed, so that no attempt can succeed."""


@dataclass(frozen=True)
class Response:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    text: str


def exchange(
    send: Callable[[requests.Session], requests.Response], deadline_s: float, max_bytes: int = MAX_BODY_BYTES
) -> Response:
    """Send a request and return its complete response.

    Args:
        send: sends the request through a session, with ``stream=True``.
        deadline_s: seconds from the connection to the last byte.
        max_bytes: largest body, before and after decompression.

    Raises:
        TransientError: no complete response; in doubt if the request had left completely.
        CannotSend: the request is malformed.
    """
    # Messages of requests and urllib3 contain the whole URL, keys included, so only the exception type is reported.
    watch = _Watch(deadline_s)
    received = bytearray()
    try:
        with requests.Session() as session:
            adapter = _Adapter(watch)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            session.headers.update({"User-Agent": "deepfakemnist", "Accept-Encoding": "identity"})
            with send(session) as response:
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    received += chunk
                    if len(received) > max_bytes:
                        break
        if watch.expired:  # a body without a length ends as if complete when its connection is shut down
            raise TimeoutError
        body = _decompressed(bytes(received), response.headers.get("Content-Encoding", ""), max_bytes)
        return Response(response.status_code, response.headers, _text(body))
    # Of these, ValueError and HTTPException are malformed headers and chunks.
    except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, zlib.error, ValueError) as error:
        if isinstance(error, _MALFORMED) and not watch.sent:
            raise CannotSend(type(error).__name__) from None
        raise TransientError(_reason(error, watch), in_doubt=watch.sent, text=_text(bytes(received))) from None
    finally:
        watch.stop()


class _TooLarge(OSError):
    """A body exceeds the limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the response exceeds {max_bytes:,} bytes")


class _UnknownEncoding(OSError):
    """A body is compressed in a way that was not asked for."""


def _decompressed(data: bytes, encoding: str, max_bytes: int) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        # 32 added to the window size: the header says whether it is gzip or zlib.
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        data = decoder.decompress(data, max_bytes + 1)
        if len(data) <= max_bytes and not decoder.eof:
            raise zlib.error
    elif encoding not in ("", "identity"):
        raise _UnknownEncoding
    if len(data) > max_bytes:
        raise _TooLarge(max_bytes)
    return data


def _text(data: bytes) -> str:
    # JSON is UTF-8; a message in another encoding must not cost the verdict next to it.
    return data.decode("utf-8-sig", errors="replace")


def _reason(error: Exception, watch: _Watch) -> str:
    if watch.expired:
        return f"no complete response within {watch.seconds:g} s (deadline_s)"
    if isinstance(error, requests.ConnectTimeout):
        return "connection timed out"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "response timed out"
    if isinstance(error, _TooLarge):
        return str(error)
    if isinstance(error, _UnknownEncoding | zlib.error):
        return "the response is compressed in a way that cannot be read"
    return f"connection failed ({type(error).__name__})"


class _Watch:
    """Shuts down the connections of one exchange at its deadline; knows whether the request has left completely."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.expired, self.sent = seconds, False, False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def add(self, connection: socket.socket) -> None:
        """Watch a connection. TLS takes its socket over, so a duplicate is kept."""
        # Sending the whole body counts as one operation of the socket, which the connect timeout would bound.
        connection.settimeout(self.seconds)
        with self._lock:
            self._sockets.append(connection.dup())
        if self.expired:
            self._expire()

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.cancel()
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()

    def _expire(self) -> None:
        self.expired = True
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):  # closed by the other side
                    connection.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Transport of requests whose connections a watch knows; no retries, which are the client's to count."""

    def __init__(self, watch: _Watch) -> None:
        self._pools = _watched_pools(watch)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pools of connections through a proxy; SOCKS has connections of its own."""
        manager = super().proxy_manager_for(proxy, **options)
        if proxy.lower().startswith("http"):
            manager.pool_classes_by_scheme = self._pools
        return manager


def _watched_pools(watch: _Watch) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connection = super()._new_conn()
            watch.add(connection)
            return connection

        def request(self, *args: Any, **options: Any) -> None:
            super().request(*args, **options)
            watch.sent = True

    class Encrypted(Plain, HTTPSConnection):
        """Connects by TLS; what is watched is the same, because urllib3's class for TLS is one of these, too."""

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}
