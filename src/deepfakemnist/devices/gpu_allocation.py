"""GPU allocation for the jobs of a machine by file locks and CUDA_VISIBLE_DEVICES.

Snakemake counts GPUs but does not assign them to jobs, so each job locks the GPUs that it uses. The kernel releases a
lock when the last process that holds it ends, for whatever reason: a killed job leaves nothing behind, and no server
has to run.

Lock files are named by UUID, because index 0 may be a different GPU for each process. They are in /tmp itself rather
than a folder per user, because all users share the GPUs. The first user creates the file and everybody may read it,
which suffices for locking; /tmp is sticky, so nobody else can delete or replace it. DEEPFAKEMNIST_GPU_LOCKS sets
another folder, e.g. one shared by the containers of a machine.
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

#: Environment variable for another lock folder.
LOCKS_VARIABLE = "DEEPFAKEMNIST_GPU_LOCKS"
_LOCKS = Path("/tmp")  # noqa: S108  (sticky, on a local disk; not TMPDIR, which may differ between jobs)
#: Under WSL 2 the driver belongs to Windows, and its tools may not be on PATH.
_NVIDIA_SMI_OF_WSL = Path("/usr/lib/wsl/lib/nvidia-smi")
#: Without persistence mode the driver first wakes every GPU, about a second each; a broken driver never returns.
_NVIDIA_SMI_TIMEOUT_S = 15.0
_POLL_S = 1.0
_GPU = re.compile(r"GPU (\d+): (.+) \(UUID: (GPU-[^)]+)\)")
_INSTANCE = re.compile(r"\s+MIG .+\(UUID: (MIG-[^)]+)\)")

#: Descriptors of the open lock files of this process.
_held: list[int] = []


class Gpu(NamedTuple):
    """One GPU as listed by ``nvidia-smi -L``."""

    model: str
    uuid: str
    instances: tuple[str, ...] = ()
    """UUIDs of its MIG instances. If there are any, a process can use one of them, not the whole GPU."""

    @property
    def names(self) -> tuple[str, ...]:
        """Entries of CUDA_VISIBLE_DEVICES for this GPU."""
        return self.instances or (self.uuid,)


def has_gpu() -> bool:
    """Return whether this process would find an NVIDIA GPU, without CUDA and without torch.

    Asks nvidia-smi, also at its WSL 2 path. If that is missing or does not respond, as in some containers, checks for
    device files, which costs nothing on a machine without a GPU.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not _entries(visible):
        return False
    gpus = list_gpus()
    return any(Path("/dev").glob("nvidia[0-9]*")) if gpus is None else bool(gpus)


@cache
def list_gpus() -> tuple[Gpu, ...] | None:
    """Return the machine's GPUs in the order of nvidia-smi, or None if nvidia-smi is missing or does not respond."""
    program = shutil.which("nvidia-smi") or shutil.which(_NVIDIA_SMI_OF_WSL)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("GPUs cannot be listed: %s", error)
        return None
    return parse_gpus(done.stdout)


def parse_gpus(listing: str) -> tuple[Gpu, ...]:
    """Parse the output of ``nvidia-smi -L``; empty if it is an error message instead."""
    gpus: list[Gpu] = []
    for line in listing.splitlines():
        if gpu := _GPU.match(line):
            gpus.append(Gpu(gpu[2], gpu[3]))
        elif gpus and (instance := _INSTANCE.match(line)):
            gpus[-1] = gpus[-1]._replace(instances=(*gpus[-1].instances, instance[1]))
    return tuple(gpus)


def usable_gpus(gpus: Sequence[Gpu] | None, visible: str | None) -> list[str] | None:
    """Return the GPUs and MIG instances that a process can use, as entries of CUDA_VISIBLE_DEVICES.

    Args:
        gpus: of the machine; None if unknown.
        visible: value of CUDA_VISIBLE_DEVICES; None if unset.

    Returns: UUIDs where possible; None if neither argument is known.

    Raises: ConfigError when CUDA_VISIBLE_DEVICES names a GPU that the machine does not have. CUDA would silently ignore
        that GPU and all after it.
    """
    if visible is None:
        return None if gpus is None else [name for gpu in gpus for name in gpu.names]
    if gpus is None:
        return list(dict.fromkeys(_entries(visible)))
    return list(dict.fromkeys(name for entry in _entries(visible) for name in _names_of(entry, gpus)))


def allocate_gpus(count: int, share: int = 1, device: str = "auto") -> list[str]:
    """Lock GPUs for the lifetime of this process and hide all others from CUDA. Call it before CUDA initialises.

    It chooses from CUDA_VISIBLE_DEVICES if set, else from all GPUs of the machine. While too few are free, it logs one
    line and waits; it locks all or none, so that jobs cannot deadlock. Within a SLURM allocation only jobs of the same
    allocation compete, because the scheduler separates the others.

    Args:
        count: number of GPUs.
        share: number of jobs that may share a GPU. Jobs with another value never share a GPU with this one.
        device: auto or cuda. auto allocates nothing without a GPU; the job then runs on the CPU.

    Returns: the entries that CUDA_VISIBLE_DEVICES is set to; empty if nothing was allocated.

    Raises: ConfigError when the machine has too few GPUs, or the lock files cannot be used.
    """
    gpus = list_gpus()
    names = usable_gpus(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if names is None:
        log.warning(
            "nvidia-smi is missing or does not respond, so GPUs cannot be assigned to jobs and all jobs use the first "
            "one. Set CUDA_VISIBLE_DEVICES to the GPUs of this machine, e.g. 0,1, to give each job its own"
        )
        return []
    if not names and device == "auto":
        return []
    if len(names) < count:
        raise ConfigError(
            f"this job needs {count} GPUs, but {len(names)} are visible ({', '.join(names) or 'none'}; "
            f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Lower training.gpus, make "
            "more GPUs visible, or set device: cpu"
        )
    if count > 1:
        names = [name for name in names if not name.startswith("MIG-")]
        if len(names) < count:
            raise ConfigError(
                f"this job needs {count} GPUs, but a process can use only one MIG instance; set training.gpus: 1"
            )
    started, warned = time.monotonic(), False
    while not (allocated := _try_to_lock(names, count, share)):
        if not warned:
            warned = True
            log.warning(
                "waiting for %d of the GPUs %s, used by other jobs (gpu_share is %d; `fuser -v %s` lists them)",
                count,
                ", ".join(names),
                share,
                _lock_file("*"),
            )
        # Jitter keeps waiting jobs out of step.
        time.sleep(_POLL_S * random.uniform(0.5, 1.5))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(allocated)
    log.info("GPU %s, after waiting for %.0f s", ", ".join(allocated), time.monotonic() - started)
    return allocated


class HeldGpus:
    """GPU locks of this process, to be passed to spawned processes.

    A spawned process that uses a GPU must hold its lock, too, because it may outlive a killed parent for a while.
    Forked children, e.g. frame decoders, release the locks at once, because they use no GPU.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _inherit, ([reduction.DupFd(file) for file in _held],)


def _inherit(files: Sequence[Any]) -> HeldGpus:
    for file in files:
        held = file.detach()
        os.set_inheritable(held, False)
        _held.append(held)
    return HeldGpus()


def _release_in_child() -> None:
    # Closing a copy of the descriptor does not release the lock of the parent.
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_release_in_child)


def _try_to_lock(names: Sequence[str], count: int, share: int) -> list[str]:
    """Lock ``count`` GPUs or none, preferring GPUs used by fewer jobs."""
    locked: dict[str, list[int]] = {}
    for slot in range(share):
        for name in names:
            if name not in locked and (files := _lock_gpu(name, slot, share)):
                locked[name] = files
                if len(locked) == count:
                    _held.extend(file for files in locked.values() for file in files)
                    return list(locked)
    for files in locked.values():
        for file in files:
            os.close(file)
    return []


def _lock_gpu(name: str, slot: int, share: int) -> list[int]:
    """Lock one of ``share`` slots of a GPU. Jobs that share hold a shared lock on the GPU, others an exclusive one."""
    gpu = _lock(_lock_file(name), fcntl.LOCK_SH if share > 1 else fcntl.LOCK_EX)
    if gpu is None:
        return []
    if share == 1:
        return [gpu]
    slot_lock = _lock(_lock_file(f"{name}-{slot}of{share}"), fcntl.LOCK_EX)
    if slot_lock is None:
        os.close(gpu)
        return []
    return [gpu, slot_lock]


def _lock_file(name: str) -> Path:
    folder = Path(os.environ.get(LOCKS_VARIABLE) or _LOCKS)
    allocation = f"slurm{os.environ['SLURM_JOB_ID']}-" if os.environ.get("SLURM_JOB_ID") else ""
    return folder / f"deepfakemnist-gpu-{allocation}{name.replace('/', '_')}.lock"


def _lock(path: Path, mode: int) -> int | None:
    """Return the descriptor of the locked file, or None if another process holds the lock."""
    try:
        file = _open(path)
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
            # The lock is void if the file was deleted in between.
            held = os.fstat(file).st_nlink > 0
        except BaseException as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                return None
            raise
    except OSError as error:
        raise ConfigError(
            f"a GPU lock file cannot be used: {error}. Set {LOCKS_VARIABLE} to a folder on a local disk of this "
            "machine that is writable for all of its users"
        ) from error
    if not held:
        os.close(file)
        return None
    if os.environ.get("SLURM_JOB_ID"):
        # Allocations have lock files of their own, so no other one needs it.
        atexit.register(_remove, path, os.getpid())
    return file


def _open(path: Path) -> int:
    """Open a lock file, which may belong to another user, or create it, readable for all whatever the umask."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        # Two calls, because Linux denies O_CREAT on files of other users in a sticky folder (fs.protected_regular).
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        umask = os.umask(0)
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o444)
        except FileExistsError:
            continue
        finally:
            os.umask(umask)


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:
        path.unlink(missing_ok=True)


def _entries(visible: str) -> list[str]:
    """Return the effective entries of CUDA_VISIBLE_DEVICES: -1 hides itself and all that follow."""
    entries: list[str] = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry in ("", "-1", "NoDevFiles"):  # SLURM sets NoDevFiles for jobs without GPUs
            break
        entries.append(entry)
    return entries


def _names_of(entry: str, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """Resolve an entry of CUDA_VISIBLE_DEVICES: an index or a UUID prefix."""
    if entry.isdecimal():
        if int(entry) < len(gpus):
            mixed = len({gpu.model for gpu in gpus}) > 1
            if mixed and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
                # By default CUDA sorts GPUs by speed, nvidia-smi by PCI bus: only CUDA can resolve the index.
                return (entry,)
            return gpus[int(entry)].names
    else:
        found = [gpu.names for gpu in gpus if gpu.uuid.startswith(entry)]
        found += [(name,) for gpu in gpus for name in gpu.instances if name.startswith(entry)]
        if len(found) == 1:
            return found[0]
    listing = ", ".join(f"{index} = {' '.join(gpu.names)}" for index, gpu in enumerate(gpus)) or "no GPU"
    raise ConfigError(f"CUDA_VISIBLE_DEVICES names {entry!r}, but nvidia-smi lists {listing}")
