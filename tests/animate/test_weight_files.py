"""Download of weight files from a local server that also fails."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepfakemnist.animate.weight_files import fetch_weights
from deepfakemnist.errors import ConfigError

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Responds by path; ``seen`` counts the requests per path."""

    seen: dict[str, int]

    def do_GET(self) -> None:
        self.seen[self.path] = self.seen.get(self.path, 0) + 1
        if self.path == "/gone":
            self.send_error(404)
        elif self.path == "/busy-once" and self.seen[self.path] == 1:
            self.send_error(503)
        elif self.path == "/page":
            self._send(b"<!DOCTYPE html><title>Quota exceeded</title>", 44)
        elif self.path == "/breaks-off":
            self._send(CONTENT[:1000], len(CONTENT))
        else:
            self._send(CONTENT, len(CONTENT))

    def _send(self, body: bytes, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.seen = {}
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    thread.join()
    http.server_close()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["weights", "busy-once"])
def test_weights_are_downloaded_completely(server, tmp_path, name):
    path = tmp_path / "new" / "weights.pth.tar"
    fetch_weights(f"{server}/{name}", path, SHA256)
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == ["weights.pth.tar"]


def test_an_existing_file_is_not_downloaded_again(server, tmp_path):
    path = tmp_path / "weights.pth.tar"
    path.write_bytes(CONTENT)
    fetch_weights(f"{server}/weights", path, SHA256)
    path.write_bytes(b"the user's own")
    with pytest.raises(ConfigError, match="but the config expects"):
        fetch_weights(f"{server}/weights", path, SHA256)
    assert path.read_bytes() == b"the user's own"
    assert Server.seen == {}


@pytest.mark.parametrize(
    ("name", "sha256", "message"),
    [
        ("gone", SHA256, "returned 404 Not Found"),
        ("page", SHA256, "returned 44 bytes: this is a web page"),
        ("breaks-off", SHA256, "could not be downloaded .ChunkedEncodingError"),
        ("weights", "0" * 64, f"with sha256 {SHA256}, but animator.weights_sha256 is 0000"),
    ],
)
def test_nothing_is_written_unless_the_checksum_matches(server, tmp_path, name, sha256, message):
    with pytest.raises(ConfigError, match=message):
        fetch_weights(f"{server}/{name}", tmp_path / "weights.pth.tar", sha256)
    assert files(tmp_path) == []


def test_an_unreachable_server_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="could not be downloaded"):
        fetch_weights("http://127.0.0.1:9/weights", tmp_path / "weights", SHA256)
