"""Parameters of rules as readable text: Snakemake compares them as sets of values and prints those that differ.

A section of the config as one value would print in whole, before and after; one text per key prints the changed key
alone, and two keys that swap their values are not taken for unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import BaseModel

#: Longer descriptions are replaced by a digest.
_LONGEST = 300


def key_texts(name: str, values: BaseModel | Mapping[str, Any], without: Collection[str] = ()) -> list[str]:
    """Return a section of the config as texts ``section.key: value``, one per key and sorted.

    Args:
        name: name of the section.
        values: its values, nested or not.
        without: keys of the section that do not matter to the rule.
    """
    plain = values.model_dump(mode="json") if isinstance(values, BaseModel) else values
    return sorted(_texts(name, {key: value for key, value in plain.items() if key not in without}))


def key_texts_by(
    which: Callable[[Any], str],
    name: str,
    sections: Mapping[str, BaseModel],
    without: Collection[str] = (),
) -> list[Callable[[Any], str]]:
    """Return functions of a rule's wildcards that give the same texts for one of several sections.

    Args:
        which: gives the name of the section by the wildcards.
        name: what the sections are, e.g. liveness; with several, the texts begin with NAME.SECTION.
        sections: section by name.
        without: keys of the sections that do not matter to the rule.
    """
    texts = {one: key_texts(f"{name}.{one}".rstrip("."), values, without) for one, values in sections.items()}
    # Snakemake compares sets: with an empty text in each, a section with more keys changes nothing for the others.
    most = max(map(len, texts.values()), default=0) + 1

    def text_at(number: int) -> Callable[[Any], str]:
        return lambda wildcards: (texts[which(wildcards)] + [""] * most)[number]

    return [text_at(number) for number in range(most)]


def described(name: str, value: Any) -> str:
    """Return a small value as text, and a long one by the number of its entries and a digest.

    Args:
        name: what the value is.
        value: anything that :func:`digest` takes.
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    except TypeError:
        text = ""
    if text and len(text) <= _LONGEST:
        return f"{name}: {text}"
    count = f"{len(value)} entries, " if isinstance(value, (list, tuple, dict, set)) else ""
    return f"{name}: {count}digest {digest(value)}"


def digest(value: object) -> str:
    """Return 16 hex digits over a small value, for ``params`` whose change re-runs a job."""
    text = json.dumps(value, sort_keys=True, default=_to_json)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _to_json(value: object) -> object:
    """Convert values that JSON lacks; sets are sorted for a stable digest."""
    return sorted(value) if isinstance(value, set) else str(value)


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [text for key, inner in value.items() for text in _texts(f"{name}.{key}", inner)]
    return [f"{name}: {json.dumps(value, ensure_ascii=False)}"]
