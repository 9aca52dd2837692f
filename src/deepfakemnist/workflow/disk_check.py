"""Comparison of the space that a run will probably need with what there is, before any job."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from deepfakemnist.config.disk import DiskSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.disk_room import GB, free_bytes
from deepfakemnist.workflow.disk_need import StageNeed, predict
from deepfakemnist.workflow.run_plan import RunPlan

#: Stages by the first part of their name → the rule whose jobs write it.
_RULES = {
    "candidates": "crop",
    "crop": "crop",
    "extract_motion": "extract_motion",
    "animate": "animate",
    "compress": "compress",
    "frames": "frames",
    "detectors": "train",
    "tables, journals, logs": "ingest",
    "liveness_answers": "liveness",
}
#: With it, jobs of these rules follow that nobody knows yet.
_DRAWS_MORE, _OF_LATER_ROUNDS = "draw_candidates", {"animate", "liveness", "compress", "frames"}
#: Stages named in a message, and bytes below which there is nothing to say.
_NAMED, _WORTH_A_LINE = 4, 1e7

_ADVICE = (
    "`deepfakemnist disk` shows the need of every stage, `deepfakemnist gc --dry-run` what can go.",
    "Write the results elsewhere (pathvars: {results: …}), make less (plan, compress.max_frames, compress.qualities),",
    "or go on with disk.on_shortage: warn; jobs then stop before the disk is full, and finished videos are kept.",
)


def check_disk(plan: RunPlan, results: Path, rules: Collection[str]) -> str:
    """Return a line on the space that the run needs, or a warning; empty if it writes next to nothing.

    Args:
        plan: the run's plan.
        results: folder of its results.
        rules: names of the rules of which jobs are about to run.

    Raises: ConfigError where there is too little room, unless ``disk.on_shortage`` is warn.
    """
    running = set(rules) | (_OF_LATER_ROUNDS if _DRAWS_MORE in rules else set())
    running |= {"liveness"} if "call_vendor" in rules else set()
    needs = [need for need in predict(plan, results) if _RULES[need.stage.split("/")[0]] in running]
    total = sum(need.missing for need in needs)
    settings, free = plan.config.disk, free_bytes(results)
    line = f"Disk: about {_gb(total)} GB to write, {_gb(free)} GB free in {results}."
    problems = []
    if total > room_for(settings, results):
        limit = "" if settings.limit_gb is None else f", disk.limit_gb allows {settings.limit_gb:g} GB"
        largest = sorted(needs, key=lambda need: -need.missing)[:_NAMED]
        parts = ", ".join(f"{need.stage} {_gb(need.missing)}" for need in largest)
        problems.append(
            f"this run will probably write {_gb(total)} GB ({parts}), and {_gb(free)} GB are free in {results}{limit}; "
            f"disk.reserve_gb keeps {settings.reserve_gb:g} GB free"
        )
    if (files := sum(need.files for need in needs)) > (inodes := _free_files(results)):
        problems.append(f"this run will make about {files:,} files, and {results} has room for {inodes:,}")
    if not problems:
        return line if total >= _WORTH_A_LINE else ""
    text = "\n  ".join(["disk: " + "; ".join(problems) + ".", *_ADVICE])
    if settings.on_shortage == "warn":
        return "WARNING: " + text
    raise ConfigError(text)


def room_for(settings: DiskSettings, results: Path) -> float:
    """Return the bytes that a run may write below its results."""
    free = float(free_bytes(results))
    allowed = free if settings.limit_gb is None else min(free, settings.limit_gb * GB)
    return allowed - settings.reserve_gb * GB


def describe_need(needs: Collection[StageNeed]) -> str:
    """Return a table of the needs as text."""
    lines = [f"{'stage':24} {'files':>9} {'GB in all':>10} {'GB there':>10} {'GB to come':>10}  by"]
    lines += [
        f"{need.stage:24} {need.files:9,} {need.bytes / GB:10.3f} {need.there / GB:10.3f} {need.missing / GB:10.3f}  "
        + ("this run" if need.measured else "typical clips")
        for need in needs
    ]
    files, everything, there, missing = (
        sum(values) for values in zip(*((one.files, one.bytes, one.there, one.missing) for one in needs), strict=True)
    )
    lines.append(f"{'all':24} {files:9,} {everything / GB:10.3f} {there / GB:10.3f} {missing / GB:10.3f}")
    return "\n".join(lines)


def _free_files(folder: Path) -> float:
    """Return how many files a file system has room for; infinite where it does not say."""
    found = os.statvfs(next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists()))
    return found.f_favail if found.f_files else float("inf")


def _gb(size: float) -> str:
    return f"{size / GB:,.2f}" if size < 10 * GB else f"{size / GB:,.0f}"
