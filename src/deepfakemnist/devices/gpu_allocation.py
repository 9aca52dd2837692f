"""Allocation of a machine's GPUs to jobs: a card each, by file locks and CUDA_VISIBLE_DEVICES.

Snakemake counts GPUs but does not say which one a job has. A job therefore locks the cards it takes. The kernel
releases a lock when the last process that holds it ends, however it ends, so nothing is left over after a kill and no
server has to run.

Locks are named by what CUDA_VISIBLE_DEVICES would name, UUIDs, because index 0 of two processes may be two cards. They
lie in the machine's /tmp itself and not in a folder per user: cards are shared by all users. Whoever comes first makes
the file, everybody may read it, which is all that locking needs, and since /tmp is sticky nobody else can delete or
replace it. DEEPFAKEMNIST_GPU_LOCKS names another folder, e.g. one that containers on a machine share.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import reduction
from pathlib import Path
from typing import Any, NamedTuple

from deepfakemnist.errors import ConfigError

log = logging.getLogger(__name__)

#: Names another folder for the locks.
LOCKS_VARIABLE = "DEEPFAKEMNIST_GPU_LOCKS"
_LOCKS = Path("/tmp")  # noqa: S108  (sticky, on a local disk, and not TMPDIR, which may be another one for every job)
#: Under WSL 2 the driver is Windows' own, and its tools need not be on PATH.
_NVIDIA_SMI_OF_WSL = Path("/usr/lib/wsl/lib/nvidia-smi")
#: Without persistence mode the driver wakes every card first, about a second each; a broken driver never answers.
_PATIENCE_S = 15.0
_LOOK_AGAIN_S = 1.0
_GPU = re.compile(r"GPU (\d+): (.+) \(UUID: (GPU-[^)]+)\)")
_INSTANCE = re.compile(r"\s+MIG .+\(UUID: (MIG-[^)]+)\)")

#: Open files whose locks are this process's cards.
_held: list[int] = []


class Card(NamedTuple):
    """One GPU as ``nvidia-smi -L`` lists it."""

    model: str
    uuid: str
    instances: tuple[str, ...] = ()
    """Its MIG instances. Where there are any, these are what a process can use, one each."""

    @property
    def names(self) -> tuple[str, ...]:
        """What CUDA_VISIBLE_DEVICES may name of it."""
        return self.instances or (self.uuid,)


def has_gpu() -> bool:
    """Return whether this process would find an NVIDIA GPU, without CUDA and without torch.

    nvidia-smi is asked, at its WSL 2 place too. Where there is none or it does not answer, as in some containers,
    device files tell; they cost nothing on a machine without a GPU.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and not _entries(named):
        return False
    cards = list_cards()
    return any(Path("/dev").glob("nvidia[0-9]*")) if cards is None else bool(cards)


@cache
def list_cards() -> tuple[Card, ...] | None:
    """Return the machine's cards in the order of nvidia-smi, or None where nvidia-smi is missing or does not answer."""
    program = shutil.which("nvidia-smi") or shutil.which(_NVIDIA_SMI_OF_WSL)
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("GPUs cannot be listed: %s", error)
        return None
    return parse_cards(done.stdout)


def parse_cards(listing: str) -> tuple[Card, ...]:
    """Return the cards of the output of ``nvidia-smi -L``; none where it says why there is none."""
    cards: list[Card] = []
    for line in listing.splitlines():
        if gpu := _GPU.match(line):
            cards.append(Card(gpu[2], gpu[3]))
        elif cards and (instance := _INSTANCE.match(line)):
            cards[-1] = cards[-1]._replace(instances=(*cards[-1].instances, instance[1]))
    return tuple(cards)


def usable_cards(cards: Sequence[Card] | None, named: str | None) -> list[str] | None:
    """Return names, as CUDA_VISIBLE_DEVICES takes them, of what a process can use.

    Args:
        cards: the machine's; None where they are not known.
        named: the value of CUDA_VISIBLE_DEVICES, or None where it is not set.

    Returns: UUIDs where possible; None where neither argument tells.

    Raises: ConfigError when a card is named that the machine does not have. CUDA would leave out that card and all
        after it without a word.
    """
    if named is None:
        return None if cards is None else [name for card in cards for name in card.names]
    if cards is None:
        return list(dict.fromkeys(_entries(named)))
    return list(dict.fromkeys(name for entry in _entries(named) for name in _names_of(entry, cards)))


def take_cards(count: int, share: int = 1, device: str = "auto") -> list[str]:
    """Take cards for the life of this process, and let CUDA see no others. Call it before CUDA starts.

    The cards are those that CUDA_VISIBLE_DEVICES names, else all of the machine. While too few are free, one log line
    says so and the call waits; it takes all of them or none, so that two jobs never wait for each other. Within an
    allocation of SLURM only jobs of the same allocation count: the scheduler has decided about the others.

    Args:
        count: cards wanted.
        share: jobs that may use a card at once. Jobs with another number never share a card with these.
        device: auto or cuda. auto takes nothing where there is no GPU; the job then runs on the CPU.

    Returns: what CUDA_VISIBLE_DEVICES is set to; empty where nothing was taken.

    Raises: ConfigError when there can never be enough cards, or the locks cannot be used.
    """
    cards = list_cards()
    names = usable_cards(cards, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if names is None:
        log.warning(
            "nvidia-smi was not found or did not answer, so jobs cannot be given a GPU each: all use the first. Set "
            "CUDA_VISIBLE_DEVICES to the GPUs of this machine, e.g. 0,1, and each takes its own"
        )
        return []
    if not names and device == "auto":
        return []
    if len(names) < count:
        raise ConfigError(
            f"this job wants {count} GPUs, but this machine shows {len(names)} ({', '.join(names) or 'none'}; "
            f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Lower training.gpus, show "
            "it more, or set device: cpu"
        )
    if count > 1:
        names = [name for name in names if not name.startswith("MIG-")]
        if len(names) < count:
            raise ConfigError(
                f"this job wants {count} GPUs together, but of MIG instances a process can use one only; set "
                "training.gpus: 1"
            )
    started, told = time.monotonic(), False
    while not (taken := _take(names, count, share)):
        if not told:
            told = True
            log.warning(
                "waiting for %d of the GPUs %s: other jobs have them (gpu_share is %d; `fuser -v %s` names them)",
                count, ", ".join(names), share, _lock_file("*"),
            )  # fmt: skip
        # Not in step with others that wait.
        time.sleep(_LOOK_AGAIN_S * random.uniform(0.5, 1.5))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    log.info("GPU %s, after waiting for %.0f s", ", ".join(taken), time.monotonic() - started)
    return taken


class HeldCards:
    """The locks of this process's cards, to be passed to a process that it spawns.

    A process that works on a card must hold its lock too: if the process that started it is killed, it may go on for a
    while. Children that are forked, as those that decode frames, let go of the locks at once: they use no GPU.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _hold, ([reduction.DupFd(file) for file in _held],)


def _hold(files: Sequence[Any]) -> HeldCards:
    for file in files:
        held = file.detach()
        os.set_inheritable(held, False)
        _held.append(held)
    return HeldCards()


def _let_go() -> None:
    # Closing a copy keeps the lock of the process that forked.
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


def _take(names: Sequence[str], count: int, share: int) -> list[str]:
    """Lock ``count`` cards or none. Cards in use by fewer jobs come first."""
    taken: dict[str, list[int]] = {}
    for place in range(share):
        for name in names:
            if name not in taken and (files := _lock_card(name, place, share)):
                taken[name] = files
                if len(taken) == count:
                    _held.extend(file for files in taken.values() for file in files)
                    return list(taken)
    for files in taken.values():
        for file in files:
            os.close(file)
    return []


def _lock_card(name: str, place: int, share: int) -> list[int]:
    """Lock one of ``share`` places on a card. Who shares a card locks it in shared mode, who does not, for itself."""
    card = _lock(_lock_file(name), fcntl.LOCK_SH if share > 1 else fcntl.LOCK_EX)
    if card is None:
        return []
    if share == 1:
        return [card]
    seat = _lock(_lock_file(f"{name}-{place}of{share}"), fcntl.LOCK_EX)
    if seat is None:
        os.close(card)
        return []
    return [card, seat]


def _lock_file(name: str) -> Path:
    folder = Path(os.environ.get(LOCKS_VARIABLE) or _LOCKS)
    allocation = f"slurm{os.environ['SLURM_JOB_ID']}-" if os.environ.get("SLURM_JOB_ID") else ""
    return folder / f"deepfakemnist-gpu-{allocation}{name.replace('/', '_')}.lock"


def _lock(path: Path, mode: int) -> int | None:
    """Return the open, locked file, or None where another process has it."""
    try:
        file = _open(path)
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
            # Somebody may have deleted it in between: then it locks nothing.
            held = os.fstat(file).st_nlink > 0
        except BaseException as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                return None
            raise
    except OSError as error:
        raise ConfigError(
            f"the lock of a GPU cannot be used: {error}. Set {LOCKS_VARIABLE} to a folder on a local disk of this "
            "machine that all of its users may write"
        ) from error
    if not held:
        os.close(file)
        return None
    if os.environ.get("SLURM_JOB_ID"):
        # The next allocation has another name for it.
        atexit.register(_forget, path, os.getpid())
    return file


def _open(path: Path) -> int:
    """Open a lock that somebody else may own, or make it, readable for all whatever the umask."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        # Two calls, because Linux refuses O_CREAT on other people's files in a sticky folder (fs.protected_regular).
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        umask = os.umask(0)
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o444)
        except FileExistsError:
            continue
        finally:
            os.umask(umask)


def _forget(path: Path, process: int) -> None:
    if os.getpid() == process:
        path.unlink(missing_ok=True)


def _entries(named: str) -> list[str]:
    """Return the entries of CUDA_VISIBLE_DEVICES that count: -1 hides itself and all that follow."""
    entries: list[str] = []
    for entry in (part.strip() for part in named.split(",")):
        if entry in ("", "-1", "NoDevFiles"):  # the last is SLURM's for a job without GPUs
            break
        entries.append(entry)
    return entries


def _names_of(entry: str, cards: Sequence[Card]) -> tuple[str, ...]:
    """Return what an entry of CUDA_VISIBLE_DEVICES, an index or the beginning of a UUID, names."""
    if entry.isdecimal():
        if int(entry) < len(cards):
            mixed = len({card.model for card in cards}) > 1
            if mixed and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
                # By default CUDA counts the fastest card first, nvidia-smi by place: only CUDA knows which one it is.
                return (entry,)
            return cards[int(entry)].names
    else:
        found = [card.names for card in cards if card.uuid.startswith(entry)]
        found += [(name,) for card in cards for name in card.instances if name.startswith(entry)]
        if len(found) == 1:
            return found[0]
    listing = ", ".join(f"{number} = {' '.join(card.names)}" for number, card in enumerate(cards)) or "no GPU"
    raise ConfigError(f"CUDA_VISIBLE_DEVICES names {entry!r}, but nvidia-smi lists {listing}")
