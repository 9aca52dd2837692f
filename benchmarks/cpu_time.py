"""CPU time measurement for the benchmarks, child processes such as ffmpeg included."""

from __future__ import annotations

import resource
from collections.abc import Callable


def cpu_seconds(work: Callable[[], None]) -> float:
    """Return the user and system seconds that ``work`` takes in this process and its children."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)
