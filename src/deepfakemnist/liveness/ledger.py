"""Everything vendors answered, on disk: the same question about the same pixels is never paid for twice.

One JSON file per answer, written to a temporary name, flushed and renamed. A database would be one file less to copy,
but SQLite's write-ahead log needs shared memory and its locks are not to be trusted on network file systems, where the
jobs of a cluster meet; a rename is whole on all of them.
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
    """Answers of one provider below ``folder``, found by a digest of pixels and parameters."""

    def __init__(self, folder: Path, provider: str) -> None:
        self.folder = folder / provider
        self.provider = provider

    def recall_or_ask(
        self, pixels_sha256: str, parameters: Row, ask: Callable[[], Row], lost: Callable[[], None]
    ) -> Row:
        """Return the answer about some pixels, asking for it only when it was never given.

        Args:
            pixels_sha256: the clip.
            parameters: everything else that was asked; JSON values. No keys.
            ask: puts the question and returns what is to be kept. Called while no other job can ask the same.
            lost: called first where an earlier job was killed between sending and keeping: that call may have been
                billed, and only the vendor knows.
        """
        key = answer_key(pixels_sha256, self.provider, parameters)
        path = self.folder / key[:2] / f"{key}.json"
        kept = read_json(path)
        if kept:
            return kept
        with self._only_one(key):
            kept = read_json(path)
            if kept:
                return kept
            asked = path.with_suffix(".asked")
            in_doubt = int((read_json(asked) or {}).get("in_doubt", -1)) + 1
            if in_doubt:
                log.warning(
                    "%s: an earlier job ended between question and answer about %s; that call may have been billed",
                    self.provider, pixels_sha256[:16],
                )  # fmt: skip
                lost()
            write_json(asked, {"in_doubt": in_doubt})
            try:
                given = ask()
            except (Exception, StopRun):
                asked.unlink()  # the question ended without an answer, and everything it cost is counted
                raise
            answer = {
                **given,
                "key": key,
                "provider": self.provider,
                "pixels_sha256": pixels_sha256,
                "parameters": parameters,
                "in_doubt": in_doubt,
            }
            write_json(path, answer)
            asked.unlink()
            return answer

    @contextmanager
    def _only_one(self, key: str) -> Iterator[None]:
        # A lock per answer would leave a file per answer; questions that share one of 4096 wait for each other.
        lock = self.folder / "locks" / f"{key[:3]}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            yield


def answer_key(pixels_sha256: str, provider: str, parameters: Row) -> str:
    """Return the name of an answer: sha256 over pixels, provider and parameters."""
    text = json.dumps([pixels_sha256, provider, parameters], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_answers(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield every answer below the folder that ledgers share, provider by provider."""
    # A job that was killed while writing leaves a file whose name begins with a dot.
    for path in sorted(folder.glob("*/??/[0-9a-f]*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))
