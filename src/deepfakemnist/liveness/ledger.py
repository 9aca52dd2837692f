"""Answer ledger of the liveness vendors: an idempotent response cache on disk, so no answer is paid for twice.

One JSON file per answer, written to a temporary name, flushed and renamed. A database would leave fewer files to copy,
but SQLite's write-ahead log needs shared memory and its locks are unreliable on network file systems, which the jobs of
a cluster share; a rename is atomic on all of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from deepfakemnist.liveness.files import read_json, write_json
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.tables.schemas import Row

log = logging.getLogger(__name__)


class Ledger:
    """Answers of one provider below ``folder``, keyed by a digest of pixels and parameters."""

    def __init__(self, folder: Path, provider: str) -> None:
        self.folder = folder / provider
        self.provider = provider

    def get_or_request(
        self, pixels_sha256: str, parameters: Row, request: Callable[[], Row], on_lost: Callable[[], None]
    ) -> Row:
        """Return the stored answer about a clip, or request and store it.

        Args:
            pixels_sha256: hash of the clip's decoded pixels.
            parameters: everything else the answer depends on; JSON values. No keys.
            request: sends the request and returns what to store. No other job can send the same request meanwhile.
            on_lost: called first if an earlier job was killed between sending the request and storing the answer: only
                the vendor knows whether that request was billed.
        """
        key = answer_key(pixels_sha256, self.provider, parameters)
        path = self.folder / key[:2] / f"{key}.json"
        stored = read_json(path)
        if stored:
            return stored
        with self._locked(key):
            stored = read_json(path)
            if stored:
                return stored
            pending = path.with_suffix(".asked")
            in_doubt = int((read_json(pending) or {}).get("in_doubt", -1)) + 1
            if in_doubt:
                log.warning(
                    "%s: an earlier job died before the answer about %s was stored; that request may have been billed",
                    self.provider, pixels_sha256[:16],
                )  # fmt: skip
                on_lost()
            write_json(pending, {"in_doubt": in_doubt})
            try:
                response = request()
            except (Exception, StopRun):
                pending.unlink()  # no answer, but the meter has counted everything that it cost
                raise
            answer = {
                **response,
                "key": key,
                "provider": self.provider,
                "pixels_sha256": pixels_sha256,
                "parameters": parameters,
                "in_doubt": in_doubt,
            }
            write_json(path, answer)
            pending.unlink()
            return answer

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        # One lock per answer would leave one file per answer; 4096 locks are shared by key prefix instead.
        lock = self.folder / "locks" / f"{key[:3]}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            yield


def answer_key(pixels_sha256: str, provider: str, parameters: Row) -> str:
    """Return the key of an answer: sha256 over pixels, provider and parameters."""
    text = json.dumps([pixels_sha256, provider, parameters], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_answers(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every answer below the folder of the ledgers, grouped by provider."""
    # A job killed while writing leaves a temporary file whose name begins with a dot.
    for path in sorted(folder.glob("*/??/[0-9a-f]*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))
