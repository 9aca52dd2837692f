"""Plug-ins: animators, detectors and liveness providers of other installed packages, found by their entry points.

A package adds one without touching this one, in its ``pyproject.toml``:

    [project.entry-points."deepfakemnist.animators"]
    shift = "shift_animator.settings:ShiftSettings"

What it imports there is loaded each time the workflow is parsed, once per job: settings only, no network.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import ClassVar, NamedTuple

from deepfakemnist.config.base import Settings

ANIMATORS, DETECTORS, LIVENESS = "deepfakemnist.animators", "deepfakemnist.detectors", "deepfakemnist.liveness"


class PluginSettings(Settings):
    """Base of the settings of a liveness provider of another package.

    A subclass has ``provider: Literal["local-…"]``, the name of its entry point, and ``module``: an importable module
    with ``load(settings)``, which returns a :class:`~deepfakemnist.liveness.protocol.LivenessProvider`.
    """

    module: ClassVar[str]


class Plugin(NamedTuple):
    """Entry point of an installed package.

    Attributes:
        name: name that the config uses.
        package: distribution that it comes from, with its version.
        module: module that it names, which need not be imported.
        content: what it names; None if it is not loaded, or cannot be used.
        problem: why it cannot be used; empty if it can.
    """

    name: str
    package: str
    module: str
    content: object | None = None
    problem: str = ""


@cache
def named(group: str, taken: frozenset[str]) -> dict[str, Plugin]:
    """Return name → plug-in of a group, without importing any; one whose name is taken has a problem.

    Args:
        group: one of ``ANIMATORS``, ``DETECTORS`` and ``LIVENESS``.
        taken: names of this package.
    """
    found: dict[str, Plugin] = {}
    for point in sorted(entry_points(group=group), key=lambda one: (one.name, one.value)):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        problem = ""
        if point.name in taken or point.name in found:
            other = found[point.name].package if point.name in found else "deepfakemnist"
            problem = f"{package} and {other} both provide {point.name}; uninstall one of the packages"
        found[point.name] = Plugin(point.name, package, point.module, problem=problem)
    return found


@cache
def plugins(group: str, taken: frozenset[str]) -> dict[str, Plugin]:
    """Return name → plug-in of a group, imported; one that cannot be has a problem. Arguments: see `named`."""
    return {name: one if one.problem else _loaded(group, one) for name, one in named(group, taken).items()}


def _loaded(group: str, plugin: Plugin) -> Plugin:
    (point,) = entry_points(group=group, name=plugin.name)
    try:
        return plugin._replace(content=point.load())
    except Exception as error:  # whatever a stranger's package raises must not end runs that do not use it
        problem = f"{point.value} of {plugin.package} cannot be imported: {type(error).__name__}: {error}"
        return plugin._replace(problem=problem)
