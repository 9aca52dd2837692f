"""Packed media: the videos of a shard as one tar beside its table, for jobs that share no folder.

A tar can be declared as output of a rule, and so reaches other machines; a folder of videos cannot, because Snakemake
deletes a declared output before it runs a job again, and finished videos with it. Nothing is compressed, and equal
files give equal bytes.
"""

from __future__ import annotations

import logging
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import OK

log = logging.getLogger(__name__)

_PIECE = 1 << 20


def pack(files: Iterable[Path | str], archive: Path) -> None:
    """Write files into a tar, under the paths by which they are given: relative to the working directory.

    Raises: ConfigError for a path outside of it, which another machine does not have.
    """
    names = sorted({str(path) for path in files})
    if outside := [name for name in names if not _is_inside(name)]:
        raise ConfigError(
            f"storage.media is packed, but {outside[0]} is not below the folder in which the run works. Put it there, "
            "or a link to its folder, and name it by the relative path"
        )
    with atomic_path(archive) as part, tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            with Path(name).open("rb") as file:
                member = tarfile.TarInfo(name)
                member.size = Path(name).stat().st_size
                tar.addfile(member, file)
    log.info("%s: %d files", archive, len(names))


def pack_table(table: Path, archive: Path) -> None:
    """Write the files that the rows of a table name into a tar."""
    rows = read_rows(table, ["status", "path"])
    pack((row["path"] for row in rows if row["status"] == OK and row["path"]), archive)


def archive_of(table: str, crops: str, job_of: Callable[[str, str], str | None]) -> str | None:
    """Return the tar with the files that a table's rows name: that of the stage which made them.

    Args:
        table: ``<results>/STAGE/…/SHARD.parquet``.
        crops: stage that makes crops; with a selection of sources, the table of ``crop`` names its files.
        job_of: returns the table, below the results and without suffix, of the job behind a stage and a shard, which
            may have made the files of several shards; None for a shard that the run no longer has.
    """
    results, stage, *middle, name = table.rsplit(".", 1)[0].split("/")
    if stage == "crop":
        stage = crops
    elif stage == "select":
        stage = "animate"
    below = job_of(stage, name) if stage in ("animate", "extract_motion") else "/".join([stage, *middle, name])
    return f"{results}/{below}.tar" if below else None


def unpack(archive: Path, is_expected: Callable[[str], bool]) -> None:
    """Put the files of a tar into their places, below the working directory. Files that are there and equal stay.

    Args:
        archive: tar of :func:`pack`.
        is_expected: whether a path may be written. The archive may come from a bucket that others write to.

    Raises: ConfigError for a tar that is damaged, or holds anything else than files with expected paths.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                if not (member.isreg() and _is_inside(member.name) and is_expected(member.name)):
                    raise ConfigError(f"{archive} holds {member.name!r}, which does not belong there")
                _place(tar, member)
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(
            f"{archive} is damaged ({error}); delete it, here and in its bucket, and run again"
        ) from error


def _place(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = Path(member.name)
    if path.is_file() and path.stat().st_size == member.size and _is_equal(_content(tar, member), path):
        return
    # By pieces: videos of users may be larger than the memory of a job.
    with atomic_path(path) as part:
        with part.open("wb") as file:
            shutil.copyfileobj(_content(tar, member), file, _PIECE)
        if part.stat().st_size != member.size:
            raise tarfile.ReadError(f"{member.name} is cut off")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None, member.name
    return content


def _is_equal(content: IO[bytes], path: Path) -> bool:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if content.read(_PIECE) != piece:
                return False
    return True


def _is_inside(name: str) -> bool:
    """Return whether a path stays below the working directory, as written."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name and name != "."
