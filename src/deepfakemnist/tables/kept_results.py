"""Results kept beside the declared files, so that a job that runs again takes its own finished work over.

After a kill of Snakemake its jobs live on and end well, but nobody records it: the next run deletes what they wrote and
starts them again. Each finished file therefore has a second name, which Snakemake does not know. It is a hard link and
takes no space; where the file system has none, a copy. Stages with a journal need none of this: their files are the
videos, which the journal names.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

#: Ends the second name of a file, and that of the record.
KEPT, RECORD = ".kept", ".kept.json"


class KeptResults:
    """The output files of a job, and what they were made of.

    Args:
        files: the files that the job writes, in one folder.
        digest: digest of everything that they depend on: inputs by content, settings, code.
    """

    def __init__(self, files: Sequence[Path], digest: str) -> None:
        self._files = [Path(path) for path in files]
        self._digest = digest
        self._record = _hidden(self._files[0], RECORD)

    def take_over(self) -> bool:
        """Give the kept files their names back; return False, and delete them, unless all are there, of this digest.

        A file that has changed since counts as not there.
        """
        recorded = self._read()
        kept = {path: _hidden(path, KEPT) for path in self._files}
        if recorded is None or any(not _is(kept[path], recorded.get(path.name)) for path in self._files):
            for path in (self._record, *kept.values()):
                path.unlink(missing_ok=True)
            return False
        for path, second in kept.items():
            _link(second, path)
        log.info("%s: finished by an earlier job, of the same inputs, settings and code; taken over", self._files[0])
        return True

    def keep(self) -> None:
        """Give the files, which the job has finished, their second names."""
        # The record last: it vouches for the others.
        self._record.unlink(missing_ok=True)
        facts = {}
        for path in self._files:
            facts[path.name] = file_facts(path).sha256
            _link(path, _hidden(path, KEPT))
        with atomic_path(self._record) as part:
            part.write_text(json.dumps({"digest": self._digest, "sha256": facts}, indent=1), encoding="utf-8")

    def _read(self) -> dict[str, str] | None:
        """Return file name → sha256 of the record; None unless it is of this digest."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            return dict(record["sha256"]) if record["digest"] == self._digest else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _hidden(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}{suffix}")


def _is(path: Path, sha256: str | None) -> bool:
    try:
        return sha256 is not None and file_facts(path).sha256 == sha256
    except OSError:
        return False


def _link(source: Path, target: Path) -> None:
    """Give a file a further name, in place of what has it; a copy where the file system has no hard links."""
    with atomic_path(target) as part:
        part.unlink()
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
