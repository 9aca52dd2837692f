"""Settings of animators as tables, from their models: config/animators.md, and ``deepfakemnist animator settings``."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deepfakemnist.config.animators.base import AnimatorSettings

_INTRO = """# Settings of animators

Keys of an entry of `animators`, or of `animator`, besides `name`. Made by `make schemas` from the models that validate
the config; a test compares. `deepfakemnist animator settings` prints the same, of other packages' animators too.
"""


class Key(NamedTuple):
    """A key below an animator: its dotted name, default, allowed values and meaning."""

    name: str
    default: str
    allowed: str
    meaning: str


def page(classes: Mapping[str, type[AnimatorSettings]]) -> str:
    """Return the page with the settings of some animators, in Markdown."""
    parts = [_INTRO]
    for name, settings in sorted(classes.items()):
        summary = (settings.__doc__ or name).strip().splitlines()[0]
        rows = [" | ".join((f"`{key.name}`", *map(_cell, key[1:]))) for key in keys(settings) if key.name != "name"]
        table = "\n".join(
            ("| key | default | values | meaning |", "|---|---|---|---|", *(f"| {row} |" for row in rows))
        )
        parts += [f"## {name}\n\n{summary}\n", f"{table}\n"]
    return "\n".join(parts)


def keys(settings: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a model, those of sections below them included."""
    for name, field in settings.model_fields.items():
        section = _section(field.annotation)
        meaning = field.description or (section.__doc__ or "").strip().split("\n")[0] if section else field.description
        yield Key(f"{prefix}{name}", _default(field, section), _allowed(field.annotation), meaning or "")
        if section is not None:
            yield from keys(section, f"{prefix}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model below a key; None for a plain value."""
    found = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, BaseModel)]
    return found[0] if found else None


def _default(field: FieldInfo, section: type[BaseModel] | None) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    return "the section's" if section is not None and isinstance(value, BaseModel) else _yaml(value)


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(annotation: Any) -> str:
    """Return the values of a literal, or a word for the type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _allowed(get_args(annotation)[0])
    if origin is Literal:
        return ", ".join(_yaml(value) for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return ", ".join(dict.fromkeys(_allowed(one) for one in get_args(annotation)))
    if origin is list:
        return f"list of {', '.join(_allowed(one) for one in get_args(annotation))}"
    words = {int: "integer", float: "number", str: "text", bool: "true, false", type(None): "null"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
