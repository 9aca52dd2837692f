"""Folders: real paths, and replacement of a finished one so that a kill or a full disk leaves one of the two whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deepfakemnist.tables.files import sync_files


def real_path(path: Path) -> Path:
    """Return the absolute path without links; a loop of links stays in it.

    :meth:`Path.resolve` raises RuntimeError for a loop before Python 3.13, and trees from elsewhere may hold one.
    """
    return Path(os.path.realpath(path))


def restore_folder(out: Path) -> None:
    """Finish or undo a :func:`replace_folder` of ``out`` that was killed: the old or the new folder stands there."""
    old, discarded = _hidden(out, "old"), _hidden(out, "discarded")
    if old.exists():
        if out.is_dir() and not any(out.iterdir()):  # Snakemake creates the folder of an output before the job
            out.rmdir()
        if not out.exists():
            old.rename(out)
        else:
            # Renamed before it is deleted, so that what is named "old" is always whole.
            shutil.rmtree(discarded, ignore_errors=True)
            old.rename(discarded)
    shutil.rmtree(discarded, ignore_errors=True)


def replace_folder(part: Path, out: Path) -> None:
    """Put the finished folder ``part`` in the place of ``out``, whose old contents stand until then.

    A process that is killed leaves the old folder, here or under the name ``.<name>.old``, or the new one; the next
    :func:`restore_folder` puts it right. Both paths must be on one file system.
    """
    restore_folder(out)
    sync_files(path for path in part.rglob("*") if path.is_file())
    if out.exists():
        out.rename(_hidden(out, "old"))
    part.rename(out)
    restore_folder(out)


def _hidden(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")
