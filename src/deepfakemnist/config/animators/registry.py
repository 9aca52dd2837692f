"""Settings of all animators: those of this package, and those of plug-ins.

An entry of ``animators`` is validated by the class of its name. ``name: auto`` is resolved to a name before.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BeforeValidator, Discriminator, Tag, TypeAdapter

from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.animators.fomm import FommSettings
from deepfakemnist.config.animators.liveportrait import LivePortraitSettings
from deepfakemnist.config.animators.mesh import MeshSettings
from deepfakemnist.config.animators.rendered import RenderedSettings
from deepfakemnist.config.animators.tpsmm import TpsmmSettings
from deepfakemnist.config.base import ACTIONS, Settings
from deepfakemnist.config.plugins import ANIMATORS, Plugin, plugins

#: Value of ``name`` that is resolved to the name of an animator.
_AUTO = "auto"
#: Removed animator → what to use instead.
_REMOVED = {"warp": "mesh, which turns heads in 3-D, closes eyes and needs no weights either"}

BUILT_IN: dict[str, type[AnimatorSettings]] = {
    settings.model_fields["name"].default: settings
    for settings in (FommSettings, LivePortraitSettings, MeshSettings, RenderedSettings, TpsmmSettings)
}


def _usable(plugin: Plugin) -> Plugin:
    """Return the plug-in, with a problem if what it names is not the settings of an animator of that name."""
    if plugin.problem:
        return plugin
    settings = plugin.content
    if not (isinstance(settings, type) and issubclass(settings, AnimatorSettings)):
        problem = "is not a subclass of deepfakemnist.config.animators.base.AnimatorSettings"
    elif settings.model_fields["name"].default != plugin.name:
        problem = f"has not the default name {plugin.name!r}, the name of the entry point"
    elif not isinstance(getattr(settings, "module", None), str):
        problem = "has no class attribute `module`, the module that renders"
    elif plugin.name in (_AUTO, *ACTIONS):
        problem = f"cannot be called {plugin.name}, which means something else"
    else:
        return plugin
    return plugin._replace(content=None, problem=f"{settings!r} of {plugin.package} {problem}")


PLUGINS = {name: _usable(one) for name, one in plugins(ANIMATORS, frozenset(BUILT_IN)).items()}
CLASSES: dict[str, type[AnimatorSettings]] = {
    **BUILT_IN,
    **{name: cast("type[AnimatorSettings]", one.content) for name, one in PLUGINS.items() if not one.problem},
}


def animator_names() -> list[str]:
    """Return the names of all animators."""
    return sorted(CLASSES)


def _resolved(given: Any) -> Any:
    """Return an entry with the name of an animator, and without settings of others that have their default.

    Those come from a config in which ``animator`` is short for the only entry: Snakemake merges it with the defaults,
    whatever the name is.

    Raises: ValueError for an unknown name, and for settings that the animator would ignore.
    """
    if isinstance(given, AnimatorSettings):
        return given
    if not isinstance(given, Mapping):
        raise ValueError("an animator is a name with its settings, e.g. {name: mesh}")
    name = given.get("name", _AUTO)
    auto = name == _AUTO
    if auto:
        name = MeshSettings.model_fields["name"].default if given.get("weights") is None else "fomm"
    if not isinstance(name, str) or name not in CLASSES or (name in PLUGINS and PLUGINS[name].problem):
        raise ValueError(_unknown(str(name)))
    own = CLASSES[name].model_fields
    others = {key: _owner(key) for key in given if key not in own}
    unused = [
        text
        for key, owner in others.items()
        if owner is not None
        for text in _changed(given[key], owner.model_fields[key].get_default(call_default_factory=True), key)
    ]
    if auto and name == "mesh" and unused:
        raise ValueError(
            f"{', '.join(unused)} would have no effect, because without weights name: auto is mesh. Set name: fomm "
            "to train a First Order Motion Model on this run's crops, or give weights"
        )
    # mesh says itself why it takes no weights and has no other motion.
    explained = ("weights", "motion", "adapt_scale") if name == "mesh" else ()
    if unused := [one for one in unused if one.split(".")[0] not in explained]:
        owner = others[unused[0].split(".")[0]]
        assert owner is not None
        raise ValueError(
            f"{' and '.join(unused)} would have no effect with name: {name}; "
            f"{'it is a setting' if len(unused) == 1 else 'they are settings'} of {owner.model_fields['name'].default}"
        )
    return {
        "name": name,
        **{
            key: value
            for key, value in given.items()
            if key != "name" and (key in own or others[key] is None or key in explained)
        },
    }


def _owner(key: str) -> type[AnimatorSettings] | None:
    """Return the animator of this package that has a setting."""
    return next((settings for settings in BUILT_IN.values() if key in settings.model_fields), None)


def _unknown(name: str) -> str:
    if name in _REMOVED:
        return f"name: {name!r} was removed; use {_REMOVED[name]}"
    if name in PLUGINS:
        return f"name: {PLUGINS[name].problem}"
    allowed = [_AUTO, *animator_names()]
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"name: {name!r} is an unknown animator{hint} Allowed are {', '.join(allowed)}"


def _changed(value: Any, default: Any, key: str) -> Iterator[str]:
    """Yield the dotted keys, from the given one on, whose values are not the defaults."""
    if isinstance(default, Settings) and isinstance(value, Mapping):
        plain = default.model_dump(mode="json")
        yield from (text for name in value for text in _changed(value[name], plain.get(name), f"{key}.{name}"))
    elif isinstance(default, Mapping) and isinstance(value, Mapping):
        yield from (text for name in value for text in _changed(value[name], default.get(name), f"{key}.{name}"))
    elif value != default:
        yield key


def _name_of(given: Any) -> str:
    return str(given["name"] if isinstance(given, Mapping) else given.name)


if TYPE_CHECKING:
    AnyAnimator = AnimatorSettings
else:
    #: Entry of ``animators``: settings of the class that its name says.
    AnyAnimator = Annotated[
        Annotated[
            reduce(or_, (Annotated[settings, Tag(name)] for name, settings in CLASSES.items())),
            Discriminator(_name_of),
        ],
        BeforeValidator(_resolved),
    ]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyAnimator)


def animator_settings(given: Mapping[str, Any] | None = None, /, **settings: Any) -> Any:
    """Return the settings of an animator, of the class that the name says.

    Args:
        given: an entry of ``animators``.
        settings: the same, by keyword.

    Raises: ValueError for an unknown animator, settings that contradict each other, or that it would ignore.
    """
    return _ADAPTER.validate_python({**(given or {}), **settings})
