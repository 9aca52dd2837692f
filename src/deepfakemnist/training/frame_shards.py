"""Location of frame shards that the index of another run, or of a release, names by relative paths.

They are relative to the folder that the other run worked in, or to the release, and nothing records that folder. Runs
of one workflow also name their shards, and many of their clips, alike: a path that exists here may be the shard of
this run, whose frames would be scored under the other's name. The checksum in the index tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import recorded_checksum


def locate_shards(index: Path | str, checksums: Mapping[str, str | None]) -> dict[str, str]:
    """Return where each shard lies: below the index's folder, a folder above it, or the working directory.

    Args:
        index: table with tables.FRAME_INDEX.
        checksums: its ``shard_checksum`` by ``shard_path``; None where the index records none, so that the first file
            of that name is taken.

    Raises: ConfigError when no file of that path has that checksum; DamagedTable for a file that is no table.
    """
    found = {path: next(_files(Path(index), path, checksum), None) for path, checksum in checksums.items()}
    missing = sorted(path for path, file in found.items() if file is None)
    if missing:
        raise ConfigError(
            f"{index} names {len(missing)} shards of frames that are not there, or have other content, e.g. "
            f"{missing[0]} (looked for from {Path(index).resolve().parent} and the folders above it, and from the "
            f"working directory, {Path.cwd()}); put the dataset's frames beside its index, or make both again"
        )
    return {path: str(file) for path, file in found.items()}


def _files(index: Path, path: str, checksum: str | None) -> Iterator[Path]:
    folder = index.resolve().parent
    for place in (folder, *folder.parents, Path.cwd()):
        file = place / path
        if file.is_file() and (checksum is None or recorded_checksum(file) == checksum):
            yield file
