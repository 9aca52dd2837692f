"""Files of a storage provider at the paths of a run without one, for the length of a job.

With a default storage provider, Snakemake hands a script the copies below ``.snakemake/storage``. Tables name files by
their path, and stages find files by that of their table, so a script works with ``results/…`` instead: each input is
linked there before it runs, each output is linked to where Snakemake looks for it afterwards. Tables are then the same
as without a provider.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfakemnist.workflow.packed_media import pack_table, unpack

#: Environment variable with the folder of the default provider's copies, set where the workflow is parsed.
VARIABLE = "DEEPFAKEMNIST_STORAGE"


@contextmanager
def staged_files(snakemake: Any, results: Path, videos: frozenset[str] = frozenset()) -> Iterator[None]:
    """Give a script its inputs and outputs at the paths of the run, packed media unpacked, and hand over its outputs.

    Args:
        snakemake: the script's object; its paths are replaced.
        results: folder of the results, relative to the working directory.
        videos: videos of the user that an input may hold.
    """
    root = os.environ.get(VARIABLE)
    outputs = list(map(str, snakemake.output))
    if root:
        for path in map(str, snakemake.input):
            if (own := _path_of_run(path, root)) != path:
                _link(Path(path), Path(own))
        snakemake.input = _renamed(snakemake.input, root)
        snakemake.output = _renamed(snakemake.output, root)
    for archive in _several(snakemake.input.get("media")):
        unpack(Path(archive), lambda name: Path(name).is_relative_to(results) or name in videos)
    yield
    packed = snakemake.output.get("media")
    if packed and snakemake.output.get("table"):
        pack_table(Path(snakemake.output.table), Path(packed))
    for path in outputs:
        if root and (own := _path_of_run(path, root)) != path:
            _link(Path(own), Path(path))


def _path_of_run(path: str, root: str) -> str:
    """Return a copy's path in the run; any other path as it is."""
    whole = Path(path).absolute()
    return str(whole.relative_to(Path(root).absolute())) if whole.is_relative_to(Path(root).absolute()) else path


def _renamed(files: Any, root: str) -> Any:
    """Return Snakemake's list of files, names included, with the paths of the run."""
    return type(files)(toclone=files, custom_map=lambda path: _path_of_run(str(path), root))


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _link(path: Path, to: Path) -> None:
    """Put a file under a second name, in the place of what is there; as a copy across file systems."""
    if to.exists() and to.samefile(path):
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name[:60]}.") as folder:
        part = Path(folder) / "part"
        try:
            os.link(path, part)
        except OSError:
            shutil.copy2(path, part)
        part.replace(to)
