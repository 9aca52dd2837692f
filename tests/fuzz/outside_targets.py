"""Fuzzing targets beyond single files: raw HTTP responses, a vendor's answers, and whole released trees."""

from __future__ import annotations

import gzip
import math
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.config.liveness import BaiduPictureSettings, BaiduSettings, LinkfaceSettings, TianyanSettings
from deepfakemnist.dataset.imports import import_dataset
from deepfakemnist.errors import Failed
from deepfakemnist.liveness.baidu import BaiduPicture, BaiduVideo
from deepfakemnist.liveness.motion_services import Linkface, Tianyan
from deepfakemnist.liveness.redaction import Redactor
from deepfakemnist.liveness.responses import find_log_id, parse_object
from deepfakemnist.liveness.transport import CannotSend, TransientError, exchange
from deepfakemnist.liveness.vendor import strip_images
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.dataset_schemas import RELEASED_VIDEOS
from deepfakemnist.tables.files import write_table

#: Suffix of an input, valid inputs, their reader, and how it may refuse others; and what makes these, in a folder.
Parts = tuple[str, list[bytes], Callable[[Path], object], tuple[type[Exception], ...]]
Maker = Callable[[Path], Parts]
_SECRET = "s3cr3t+key/0123"
_MAX_BODY = 100_000
_ANSWERS = (
    b'{"error_code": 0, "log_id": 7, "result": {"score": 0.95, "face_liveness": 0.95, "action_verify": "pass", '
    b'"thresholds": {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}}}',
    b'{"error_code": 222202, "error_msg": "pic not has face", "log_id": 8, "result": null}',
    b'{"err_no": 216430, "err_msg": "s3cr3t+key/0123", "log_id": "9"}',
    b'{"code": 200, "msg": "ok", "data": {"passed": true, "motions": [{"motion": "BLINK", "score": 0.9}]}}',
    b'{"status": "OK", "request_id": "r7", "result": {"passed": true, "motions": [{"motion": "BLINK", "score": 0.9, '
    b'"passed": true}]}}',
)


def answers(_: Path) -> Parts:
    """A vendor's body, from bytes to a verdict: live only by documented values, and no key in what is kept."""
    redactor = Redactor((_SECRET,))
    service: Any = SimpleNamespace(redactor=redactor)
    motions = {"blink": "BLINK"}
    vendors = (
        BaiduVideo(BaiduSettings(provider="baidu"), {"blink": "0"}, service),
        BaiduPicture(BaiduPictureSettings(provider="baidu-picture"), service),
        Tianyan(TianyanSettings(provider="tianyan", base_url="https://localhost"), motions, service, ("id", _SECRET)),
        Linkface(
            LinkfaceSettings(provider="linkface", base_url="https://localhost"), motions, service, ("id", _SECRET)
        ),
    )

    def read(path: Path) -> None:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        find_log_id(text)
        body = parse_object(text)
        if body is None:
            return
        kept = strip_images(body)
        redacted = redactor.json(kept)
        assert _SECRET not in str(redacted), redacted
        for vendor in vendors:
            try:
                verdict = vendor.decide(kept, "blink")
            except Failed:
                continue
            if verdict.live:
                assert verdict.score is None or (type(verdict.score) is float and 0 <= verdict.score <= 1)
                assert verdict.score is not None or vendor.name in ("tianyan", "linkface")
                if vendor.name.startswith("baidu"):
                    assert verdict.threshold is not None and verdict.score > verdict.threshold >= 0
                else:
                    assert (kept.get("data") or kept["result"])["passed"] is True
            assert verdict.score is None or math.isfinite(verdict.score)

    return ".json", list(_ANSWERS), read, ()


def http(_: Path) -> Parts:
    """Raw bytes of an HTTP response, over a real connection."""
    body = _ANSWERS[0]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    packed = gzip.compress(body)
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in (body[:half], body[half:], b""))
    seeds = [
        head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
        head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(packed), packed),
        head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + head + b"Retry-After: 1\r\nConnection: close\r\n\r\n" + body,
    ]
    server = socket.create_server(("127.0.0.1", 0))
    reply = [b""]

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.settimeout(5)
                    connection.recv(65536)
                    connection.sendall(reply[0])
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/"

    def read(path: Path) -> None:
        reply[0] = path.read_bytes()
        response = exchange(
            lambda session: session.get(url, stream=True, allow_redirects=False, timeout=5), 5, _MAX_BODY
        )
        assert len(response.text) <= _MAX_BODY
        parse_object(response.text)

    return ".http", seeds, read, (TransientError, CannotSend)


def tree(folder: Path) -> Parts:
    """A release whose table and files are both mutated, imported: nothing outside of OUT changes.

    The input is one line per value of the fake's row, then lines that change a file: an operation and a path.
    """
    from deepfakemnist.errors import ConfigError

    write_working_clip(folder / "clip.mp4", np.zeros((3, 32, 32, 3), np.uint8), 25)
    video = (folder / "clip.mp4").read_bytes()
    shared = {"quality": "c23", "split": "test", "person_id": "p", "source_id": "s"}
    real = {"video_id": "s", "label": 0, "action": "", "path": "c23/real_dataset/selected_test/s.mp4", **shared}
    fake = {"video_id": "s@d", "label": 1, "action": "nod", "path": "c23/fake_dataset/nod/s@d.mp4", **shared}
    names = [name for name in fake if name != "label"]
    values = "\n".join(str(fake[name]) for name in names)
    operations = ["link", "hard", "folder", "fifo", "cut", "loop", "manifest-link", "none"]
    seeds = [f"{values}\n{operation}\n{row['path']}".encode() for operation in operations for row in (real, fake)]
    number = iter(range(1 << 60))

    def read(path: Path) -> None:
        at = folder / f"run{next(number)}"
        root, out, victim = at / "tree", at / "out", at / "victim"
        victim.mkdir(parents=True)
        (victim / "keep.mp4").write_bytes(video)
        lines = path.read_bytes().decode("utf-8", "replace").split("\n")
        for row in (real, fake):
            (root / str(row["path"])).parent.mkdir(parents=True, exist_ok=True)
            (root / str(row["path"])).write_bytes(video)
        row = {**fake, **dict(zip(names, lines, strict=False))}
        write_table([real, row], root / "manifest/videos.parquet", RELEASED_VIDEOS)
        operation, *rest = lines[len(names) :] or ["none"]
        target = root / (rest[0] if rest and rest[0] in (real["path"], fake["path"]) else str(fake["path"]))
        _change(operation, target, victim, out)
        before = _files(victim)
        try:
            import_dataset(root, out, FrameSettings(per_clip=1))
        except ConfigError:
            pass
        finally:
            assert _files(victim) == before and {one.name for one in at.iterdir()} <= {"tree", "out", "victim"}
            assert (root / str(real["path"])).exists() or target == root / str(real["path"])
            _remove(at)

    return ".txt", seeds, read, ()


def _change(operation: str, target: Path, victim: Path, out: Path) -> None:
    if operation in ("link", "hard", "folder", "fifo", "loop"):
        target.unlink()
    if operation == "link":
        target.symlink_to(victim / "keep.mp4")
    elif operation == "hard":
        os.link(victim / "keep.mp4", target)
    elif operation == "folder":
        target.mkdir()
    elif operation == "fifo":
        os.mkfifo(target)
    elif operation == "loop":
        target.symlink_to(target)
    elif operation == "cut":
        target.write_bytes(target.read_bytes()[:300])
    elif operation == "manifest-link":
        out.mkdir()
        (out / "manifest").symlink_to(victim)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
