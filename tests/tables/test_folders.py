"""Replacement of a whole folder by another, killed at every step."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfakemnist.tables.folders import replace_folder, restore_folder

_STEPS = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def fill(folder: Path, text: str) -> Path:
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b", "deep/c"):
        (folder / name).write_text(text)
    return folder


def content(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix() + ":" + path.read_text() for path in folder.rglob("*") if path.is_file()
    }


OLD, NEW = ({f"{name}:{text}" for name in ("a", "deep/b", "deep/c")} for text in ("old", "new"))


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that gets SIGKILL before its n-th change of the file system; return whether it did."""
    child = os.fork()
    if child == 0:
        left = [step]

        def die(event: str, _: object) -> None:
            if event in _STEPS:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(("parent_made", "killed_again"), [(False, 0), (True, 0), (True, 2)])
def test_a_kill_leaves_the_old_folder_or_the_new_one(tmp_path: Path, parent_made: bool, killed_again: int) -> None:
    step, killed, seen = 0, True, []
    while killed:
        step += 1
        root = tmp_path / str(step)
        out, part = fill(root / "out", "old"), fill(root / "part", "new")
        killed = killed_at(step, lambda out=out, part=part: replace_folder(part, out))
        if killed_again:
            killed_at(killed_again, lambda out=out: restore_folder(out))
        if parent_made:
            out.mkdir(exist_ok=True)
        restore_folder(out)
        seen.append(content(out))
        assert seen[-1] in (OLD, NEW)
        assert not list(root.glob(".out.*"))
    # Before the first renames the old one stands; whoever was not killed has the new one.
    assert seen[:2] == [OLD, OLD] and seen[-1] == NEW and step > 6


def test_a_first_folder_has_nothing_to_replace(tmp_path: Path) -> None:
    replace_folder(fill(tmp_path / "part", "new"), tmp_path / "out")
    assert content(tmp_path / "out") == NEW and [path.name for path in tmp_path.iterdir()] == ["out"]
