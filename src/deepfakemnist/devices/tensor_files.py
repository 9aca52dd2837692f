"""Loading of PyTorch files that others wrote: tensors and plain values only, and messages without unsafe advice."""

from __future__ import annotations

import json
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from io import IOBase
from pathlib import Path
from typing import IO, Any

import torch

#: Characters of a class's name with its module. PyTorch's have fewer than 60.
_LONGEST_NAME = 1000
#: Bytes of a pickle that only names tensors: 300 of each.
_LARGEST_PICKLE = 100_000_000
#: The older format: a magic number, a version, facts of the machine, the content, and the names of the tensors' data.
_OLD_PICKLES = 5


class UnreadableTensors(ValueError):
    """A file that holds no tensors, or something else besides; the message says what, and advises nothing."""


def load_tensors(file: Path | str | IO[bytes], device: torch.device | str = "cpu") -> Any:
    """Return the content of a PyTorch file, of which only tensors and plain values are unpickled.

    Raises: UnreadableTensors. PyTorch's own message recommends to load the file unsafely, which would run its code, so
        only the facts in it are quoted.
    """
    try:
        with nullcontext(file) if isinstance(file, IOBase) else Path(str(file)).open("rb") as opened:
            _check_names(opened)
            return torch.load(opened, map_location=device, weights_only=True)
    except (MemoryError, UnreadableTensors):
        raise
    except Exception as error:  # a damaged file makes torch raise almost anything
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        text = str(error)
        if forbidden := re.search(r"(?:GLOBAL|class|global) (\S+)", text):
            raise UnreadableTensors(
                f"it references {forbidden[1]}, which is neither a tensor nor a plain value; loading it could execute "
                "code, so the file is refused"
            ) from error
        fact = "invalid pickle" if isinstance(error, pickle.UnpicklingError) else text.split(". ")[0].split("\n")[0]
        raise UnreadableTensors(
            f"damaged, incomplete or not a PyTorch checkpoint ({type(error).__name__}: {fact})"
        ) from error


def _check_names(file: Any) -> None:
    """Refuse a pickle that is none, and one whose names of classes are longer than any real one.

    torch.load quotes such a name and searches its own message by a regular expression that takes the square of its
    length: 140 kB in 20 minutes (PyTorch 2.11).
    """
    try:
        for pickled in _pickles(file):
            for operation, argument, _ in pickletools.genops(pickled):
                if operation.name == "GLOBAL" and len(str(argument)) > _LONGEST_NAME:
                    raise UnreadableTensors(f"it references a class whose name has {len(str(argument))} characters")
    except UnreadableTensors:
        raise
    except Exception as error:  # pickletools and zipfile raise a dozen types for a damaged file
        raise UnreadableTensors(
            f"damaged, incomplete or not a PyTorch checkpoint ({type(error).__name__}: invalid pickle)"
        ) from error
    finally:
        file.seek(0)


def _pickles(file: Any) -> Iterator[IO[bytes]]:
    """Yield the pickles of a file: that of a zip archive, or those that the older format begins with, one by one."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl"):
                    if entry.file_size > _LARGEST_PICKLE:
                        raise UnreadableTensors(f"its pickle has {entry.file_size} bytes, without any tensor's data")
                    with archive.open(entry) as pickled:
                        yield pickled
    else:
        file.seek(0)
        for _ in range(_OLD_PICKLES):
            yield file


def json_entry(metadata: dict[str, str], key: str) -> dict[str, Any]:
    """Return a JSON object from the metadata of a safetensors file.

    Raises: ValueError for a missing entry, for text that is no JSON, and for JSON that is no object.
    """
    if key not in metadata:
        raise ValueError(f"its metadata has {', '.join(map(ascii, metadata)) or 'no entry'}, not {key}")
    try:
        content = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the entry {key} of its metadata is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"the entry {key} of its metadata is a JSON {type(content).__name__}, not an object")
    return content
