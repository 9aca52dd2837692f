"""Launcher of distributed training: starts one process per rank and initialises its process group."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from deepfakemnist.devices.gpu_allocation import HeldGpus
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError

#: How long the other ranks wait while one reads tables or writes a checkpoint.
_COLLECTIVE_TIMEOUT = timedelta(hours=2)


def launch_distributed(
    work: Callable[..., None],
    processes: int,
    log_file: Path | str | None = None,
    *,
    setting: str = "training.gpus",
    **arguments: Any,
) -> None:
    """Run ``work`` in several processes on this machine, as ``torchrun --nproc-per-node`` does; one runs in place.

    Args:
        work: importable function, called with ``arguments``, among them ``device``.
        processes: world size; on GPUs each process uses its own.
        setting: name of the setting that ``processes`` is, for messages.
        log_file: file that rank 0 appends its log to; the other ranks log warnings only, to stderr.
        arguments: keyword arguments, all of which can be pickled.

    Raises: ConfigError when a process ends with an error, or there are fewer GPUs than processes.
    """
    if processes == 1:
        work(**arguments)
        return
    if choose_device(arguments["device"]).type == "cuda" and torch.cuda.device_count() < processes:
        raise ConfigError(
            f"{setting} is {processes}, but this job sees {torch.cuda.device_count()} GPUs; in the workflow it "
            "gets no more than --resources gpu=N allows"
        )
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=0, monitor_interval=0.2,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id=f"deepfakemnist-{os.getpid()}",
    )  # fmt: skip
    try:
        with main_script_left_alone():
            elastic_launch(config, run_rank)(work, log_file, arguments, HeldGpus())
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise ConfigError(f"process {failure.local_rank} of {processes} failed: {failure.message}") from error


@contextmanager
def main_script_left_alone() -> Iterator[None]:
    """Keep processes that are spawned meanwhile from running this process's main script.

    Python's multiprocessing runs it in every one, for functions that it defines. A script of Snakemake would fail
    there: it has no guard, and its variables are missing.
    """
    main = sys.modules["__main__"]
    path = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path


@record
def run_rank(
    work: Callable[..., None], log_file: Path | str | None, arguments: dict[str, Any], gpus: HeldGpus | None = None
) -> None:
    """Join the process group of torchrun or launch_distributed and run ``work``.

    Args:
        work, log_file, arguments: see launch_distributed.
        gpus: GPU allocation of the launching process; unpickling it makes this process a holder too.
    """
    rank = int(os.environ["RANK"])
    handler = logging.FileHandler(log_file) if log_file and rank == 0 else logging.StreamHandler()
    log_format = "%(asctime)s %(levelname)s %(message)s"
    level = logging.INFO if rank == 0 else logging.WARNING
    logging.basicConfig(level=level, format=log_format, handlers=[handler])
    device = choose_device(arguments["device"])
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_COLLECTIVE_TIMEOUT)
    try:
        work(**arguments)
    finally:
        distributed.destroy_process_group()
