"""Starts several processes that train together, and what each does first, see training.distributed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from deepfakemnist.devices.gpu_allocation import HeldCards
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError

#: How long the others wait while one process reads tables or writes a checkpoint.
_PATIENCE = timedelta(hours=2)


def launch_processes(
    work: Callable[..., None], processes: int, log_file: Path | str | None = None, **arguments: Any
) -> None:
    """Do work in several processes on this machine, as ``torchrun --nproc-per-node`` does; with one, in this process.

    Args:
        work: an importable function, called with ``arguments``; one of them is ``device``.
        processes: how many; on GPUs each takes one of its own.
        log_file: what the first process adds its log to; the others say warnings only.
        arguments: what can be pickled.

    Raises: ConfigError when a process ends with an error, or there are not enough GPUs.
    """
    if processes == 1:
        work(**arguments)
        return
    if choose_device(arguments["device"]).type == "cuda" and torch.cuda.device_count() < processes:
        raise ConfigError(
            f"training.gpus is {processes}, but this job sees {torch.cuda.device_count()} GPUs; in the workflow it "
            "gets no more than --resources gpu=N allows"
        )
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, max_restarts=0, monitor_interval=0.2,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id=f"deepfakemnist-{os.getpid()}",
    )  # fmt: skip
    try:
        elastic_launch(config, run_process)(work, log_file, arguments, HeldCards())
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise ConfigError(f"process {failure.local_rank} of {processes} ended: {failure.message}") from error


@record
def run_process(
    work: Callable[..., None], log_file: Path | str | None, arguments: dict[str, Any], cards: HeldCards | None = None
) -> None:
    """Join the processes that torchrun or launch_processes started, and do the work.

    Args:
        work, log_file, arguments: as for launch_processes.
        cards: what the process that started this one holds; this one holds it too from the moment it has got it.
    """
    rank = int(os.environ["RANK"])
    handler = logging.FileHandler(log_file) if log_file and rank == 0 else logging.StreamHandler()
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format=form, handlers=[handler])
    device = choose_device(arguments["device"])
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        work(**arguments)
    finally:
        distributed.destroy_process_group()
