"""Loading of PyTorch files that others wrote: tensors and plain values only, and messages without unsafe advice."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import IO, Any

import torch


class UnreadableTensors(ValueError):
    """A file that holds no tensors, or something else besides; the message says what, and advises nothing."""


def load_tensors(file: Path | str | IO[bytes], device: torch.device | str = "cpu") -> Any:
    """Return the content of a PyTorch file, of which only tensors and plain values are unpickled.

    Raises: UnreadableTensors. PyTorch's own message recommends to load the file unsafely, which would run its code, so
        only the facts in it are quoted.
    """
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except MemoryError:
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
