"""Video file search below folders: one list of suffixes, linked folders followed once, and what is left aside counted.

Only names and links are read, no file is opened: every job of a run searches again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from deepfakemnist.errors import ConfigError

#: File suffixes that count as videos when a folder is searched: those of the containers that
#: :mod:`deepfakemnist.media.container` reads. A sheet may list files with any name.
VIDEO_SUFFIXES = {
    ".3g2", ".3gp", ".f4v", ".m4v", ".mj2", ".mov", ".mp4", ".qt",
    ".m2p", ".m2t", ".m2ts", ".mpe", ".mpeg", ".mpg", ".mts", ".ts", ".vob",
    ".asf", ".avi", ".divx", ".flv", ".gif", ".mkv", ".mxf", ".nut", ".ogv", ".webm", ".wmv",
}  # fmt: skip
#: Why something is left aside → what it is, for a count.
REASONS = {
    "no_video_suffix": "without a video suffix",
    "outside_the_pattern": "outside sources.pattern",
    "hidden": "hidden",
    "broken_link": "links to nothing",
    "same_file": "second names of a file in use",
    "folder_searched_already": "links to a folder that is searched anyway",
    "unreadable_folder": "unreadable folders",
    "not_a_file": "neither file nor folder",
    "undecodable_name": "with a name that is not UTF-8",
}
#: Reasons that hide a video, so that each gets a row of the ledger; the others are counted.
_LISTED = ("broken_link", "same_file", "unreadable_folder", "undecodable_name")
_MAX_SUFFIXES = 6


@dataclass(frozen=True)
class LeftAside:
    """Something below a searched folder that is not used as a video."""

    path: str  # below the folder, POSIX
    reason: str  # a key of REASONS
    detail: str

    @property
    def hides_a_video(self) -> bool:
        """Whether a video may be missing for this reason, other than by the user's choice."""
        return self.reason in _LISTED


@dataclass
class VideoSearch:
    """Result of a search: videos sorted by their path below the folder, and what was left aside."""

    folder: Path
    videos: list[Path] = field(default_factory=list)
    left_aside: list[LeftAside] = field(default_factory=list)


def find_videos(folder: Path, pattern: str = "**/*", files_once: bool = False) -> VideoSearch:
    """Return the videos below a folder, by suffix.

    A linked folder is searched like any other, but no folder twice: a link to one that is searched under another name,
    or to one that contains the searched folder, is left aside. Hidden files and folders are left aside.

    Args:
        folder: root folder.
        pattern: glob on the path below it; ``**`` stands for any number of folders.
        files_once: also leave aside second names, by link or hard link, of a file in use. Names of real files go before
            links, then the first in the order of paths.

    Raises: ConfigError for a pattern that leaves the folder.
    """
    parts = PurePosixPath(pattern).parts
    if not parts or pattern.startswith("/") or ".." in parts:
        raise ConfigError(f"pattern {pattern!r}: must be a glob below the folder, such as **/* or */*.mp4")
    search = VideoSearch(folder)
    found: list[tuple[bool, str, tuple[int, int]]] = []
    for relative, entry, device in _files(folder, search.left_aside):
        suffix = Path(entry.name).suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            search.left_aside.append(LeftAside(relative, "no_video_suffix", suffix))
        elif not _matches(relative.split("/"), parts):
            search.left_aside.append(LeftAside(relative, "outside_the_pattern", pattern))
        elif entry.is_symlink():
            facts = entry.stat()
            found.append((True, relative, (facts.st_dev, facts.st_ino)))
        else:
            found.append((False, relative, (device, entry.inode())))
    used: dict[tuple[int, int], str] = {}
    for _, relative, file in sorted(found):
        if files_once and file[1] and file in used:
            search.left_aside.append(LeftAside(relative, "same_file", f"is the same file as {used[file]}"))
            continue
        used[file] = relative
        search.videos.append(folder / relative)
    # By parts, as paths sort: "a/b" before "a.b".
    search.videos.sort()
    search.left_aside.sort(key=lambda item: (item.reason, item.path))
    return search


def count_left_aside(items: Iterable[LeftAside]) -> list[dict[str, Any]]:
    """Return rows of reason, suffix (of those without a video suffix), number of files and the first path as example.

    Sorted by reason in the order of REASONS, then by number and suffix.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        suffix = (item.detail or "none") if item.reason == "no_video_suffix" else ""
        groups.setdefault((item.reason, suffix), []).append(item.path)
    order = list(REASONS)
    ranked = sorted(groups.items(), key=lambda group: (order.index(group[0][0]), -len(group[1]), group[0][1]))
    return [
        {"reason": reason, "suffix": suffix, "files": len(paths), "example": min(paths)}
        for (reason, suffix), paths in ranked
    ]


def describe_left_aside(items: Iterable[LeftAside]) -> str:
    """Return one line such as ``6 without a video suffix (.txt 4, .jpg 2), 1 links to nothing``; empty for none."""
    rows = count_left_aside(items)
    parts = []
    for reason, what in REASONS.items():
        of_reason = [row for row in rows if row["reason"] == reason]
        if not of_reason:
            continue
        suffixes = [f"{row['suffix']} {row['files']}" for row in of_reason if row["suffix"]]
        more = [*suffixes[:_MAX_SUFFIXES], "…"] if len(suffixes) > _MAX_SUFFIXES else suffixes
        total = sum(row["files"] for row in of_reason)
        parts.append(f"{total} {what}" + (f" ({', '.join(more)})" if more else ""))
    return ", ".join(parts)


def _files(folder: Path, left_aside: list[LeftAside]) -> Iterator[tuple[str, os.DirEntry[str], int]]:
    """Yield the path below the folder, entry and device of every file; real folders are searched before linked ones."""
    top = folder.resolve()
    above = {_identity(path) for path in top.parents}
    searched: set[tuple[int, int]] = set()
    pending, linked = [""], list[str]()
    while pending or linked:
        # A linked folder waits until it is known which folders are searched under their own name.
        linked.sort()
        at = pending.pop() if pending else linked.pop(0)
        place = folder / at
        try:
            identity = _identity(place)
            if identity in searched | above:
                detail = f"links to {os.path.realpath(place)}"
                left_aside.append(LeftAside(at, "folder_searched_already", detail))
                continue
            searched.add(identity)
            with os.scandir(place) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            left_aside.append(LeftAside(at or ".", "unreadable_folder", f"{place}: {error.strerror}"))
            continue
        for entry in entries:
            relative = f"{at}/{entry.name}" if at else entry.name
            kind = _kind(entry)
            if kind == "folder":
                (linked if entry.is_symlink() else pending).append(relative)
            elif kind == "file":
                yield relative, entry, identity[0]
            else:
                detail = f"links to {Path(entry.path).readlink()}" if kind == "broken_link" else ""
                if kind == "undecodable_name":
                    relative, detail = _readable(relative), "rename it: no table can hold its name"
                left_aside.append(LeftAside(relative, kind, _readable(detail)))


def _kind(entry: os.DirEntry[str]) -> str:
    """Return folder or file, following links, or the reason to leave the entry aside."""
    if entry.name.startswith("."):
        return "hidden"
    if _readable(entry.name) != entry.name:
        return "undecodable_name"
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself, or through a folder that may not be entered
        return "broken_link"
    return "broken_link" if entry.is_symlink() else "not_a_file"


def _readable(name: str) -> str:
    """Return a name with the bytes that are no text written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match those of a glob, case-sensitively."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_matches(path[skipped:], pattern[1:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
