"""Release changelog: videos added, removed and changed since the previous release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.dataset.markdown import in_markdown
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import Row

#: Columns that may differ although the video is the same: paths, and what the marks and the FFmpeg version change.
_NOT_CONTENT = {"path", "ffmpeg_version", "sha256", "bytes"}
_LISTED = 50


class Changes(NamedTuple):
    """Videos by name (video_id at quality), and for changed ones the columns that differ."""

    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]


def compare(before: Sequence[Row], after: Sequence[Row]) -> Changes:
    """Compare rows of ``tables.VIDEOS`` of two releases."""
    old, new = ({f"{row['video_id']} at {row['quality']}": row for row in rows} for rows in (before, after))
    changed = {}
    for name in sorted(old.keys() & new.keys()):
        shared = old[name].keys() & new[name].keys() - _NOT_CONTENT
        columns = sorted(column for column in shared if old[name][column] != new[name][column])
        if columns:
            changed[name] = columns
    return Changes(sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys()), changed)


def changelog(previous: Path | None, videos: Sequence[Row], version: str) -> str:
    """Return the text of CHANGELOG.md: this release's section, then those of earlier releases.

    Raises: ConfigError when ``previous`` is not a release folder.
    """
    if previous is None:
        return f"# Changes\n\n## {version}\n\nFirst release: {len(videos)} files.\n"
    table = previous / "manifest/videos.parquet"
    if not table.is_file():
        raise ConfigError(f"release.previous: {previous} is not a release folder; it lacks manifest/videos.parquet")
    changes = compare(read_rows(table), videos)
    lines = [f"## {version}", "", f"{len(videos)} files."]
    for title, names in (
        ("Added", changes.added),
        ("Removed", changes.removed),
        ("Changed", [f"{name}: {', '.join(columns)}" for name, columns in changes.changed.items()]),
    ):
        lines += ["", f"### {title}: {len(names)}", "", *(f"* {in_markdown(name)}" for name in names[:_LISTED])]
        if len(names) > _LISTED:
            lines.append(f"* and {len(names) - _LISTED} more")
    old = previous / "CHANGELOG.md"
    past = old.read_text(encoding="utf-8").removeprefix("# Changes\n") if old.is_file() else ""
    return "\n".join(["# Changes", "", *lines]) + "\n" + past
