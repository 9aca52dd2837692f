"""Common set-up of workflow scripts: logging, threads, GPU allocation, error reporting."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from deepfakemnist.config.disk import DiskSettings
from deepfakemnist.config.load import load_config
from deepfakemnist.devices.gpu_allocation import allocate_gpus
from deepfakemnist.errors import ConfigError, TooManyFailures
from deepfakemnist.machine_errors import machine_error
from deepfakemnist.tables.disk_room import GB, keep_free
from deepfakemnist.workflow.run_plan import RunPlan
from deepfakemnist.workflow.sharding import label_of, shard_of_animator
from deepfakemnist.workflow.staged_files import staged_files

#: Start-up takes 7 to 10 s (Python, torch, CUDA, weights, graphs), a clip 0.2 to 0.6 s on an H100: 2 to 6 % overhead.
_CLIPS_PER_GPU_JOB = 800


@contextmanager
def stage_script(snakemake: Any) -> Iterator[None]:
    """Run the body of a workflow script with logging, thread limits, GPU allocation and error handling.

    Log lines go to the rule's log file, warnings also to the terminal. Numeric libraries get as many threads as
    Snakemake gave the job: many single-threaded jobs beat one multi-threaded job. A job with the resource ``gpu`` sees
    that many GPUs and no others, exclusively unless ``gpu_share`` is above 1. Errors of the user and of the machine end
    with their message, all others with a traceback in the log.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setLevel(logging.WARNING)
    if snakemake.log:
        log_file = Path(snakemake.log[0])
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, mode="w", encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=handlers, force=True
    )
    _set_threads(int(snakemake.threads))
    try:
        if snakemake.resources.get("gpu") and device_of(snakemake) != "cpu":
            share = int(snakemake.config.get("gpu_share", 1))
            allocate_gpus(int(snakemake.resources.gpu), share, device_of(snakemake))
        results = Path(snakemake.config.get("pathvars", {}).get("results", "results"))
        reserve = DiskSettings(**snakemake.config.get("disk", {})).reserve_gb * GB
        with keep_free(reserve), staged_files(snakemake, results, frozenset(snakemake.params.get("videos", ()))):
            yield
    except (ConfigError, TooManyFailures) as error:
        logging.getLogger(snakemake.rule).error("%s", error)
        sys.exit(1)
    except Exception as error:
        logger = logging.getLogger(snakemake.rule)
        if (found := machine_error(error)) is not None:
            logger.error("rule %s: %s", snakemake.rule, found)
            logger.info("rule %s failed", snakemake.rule, exc_info=error)
        else:
            logger.exception("rule %s failed", snakemake.rule)
        sys.exit(1)


def clips_per_job(setting: Literal["auto"] | int | None, gpus: int, results: Path | None) -> int:
    """Return the target number of clips per animation job; 0 for one shard per job.

    ``auto`` keeps the layout of existing results: with other job inputs, Snakemake would re-run them once a machine
    with, or without, a GPU continues the run.

    Args:
        setting: the config's ``clips_per_gpu_job``.
        gpus: GPUs per job, from gpus_of_run.
        results: results folder; None: ``auto`` does not look for results.
    """
    if setting != "auto":
        return setting or 0
    if results is None:
        return _CLIPS_PER_GPU_JOB if gpus else 0
    if (results / "gpu").exists():
        return _CLIPS_PER_GPU_JOB
    started = any(any((results / stage).glob("*.parquet")) for stage in ("extract_motion", "animate"))
    return _CLIPS_PER_GPU_JOB if gpus and not started else 0


def run_plan_of(snakemake: Any) -> RunPlan:
    """Return the run plan of a script's run, as the run's main process made it."""
    return RunPlan.of_run(load_config(snakemake.config), is_main=False, check_files=False)


def device_of(snakemake: Any) -> str:
    """Return the configured device: auto, cuda or cpu."""
    return str(snakemake.config.get("device", "auto"))


def decoders_of(snakemake: Any, processes: int = 1) -> int:
    """Return the number of decoder processes for each of ``processes`` network processes.

    With a GPU: all cores of the job but one. On a CPU the network needs the cores, and one decoder, if there is a
    second core, keeps ahead of any network.
    """
    cores = int(snakemake.threads) // processes
    return max(cores - 1, 0) if snakemake.resources.get("gpu") else min(max(cores - 1, 0), 1)


def input_path(snakemake: Any, name: str) -> Path | None:
    """Return a named input file, or None if the rule has no such input."""
    value = snakemake.input.get(name)
    return Path(value) if value else None


def max_failed_fraction(snakemake: Any) -> float:
    """Return the maximum fraction of a stage's videos that may fail."""
    return load_config(snakemake.config).max_failed_fraction


def job_arguments(snakemake: Any, tables: list[str]) -> dict[str, Any]:
    """Return the common arguments of a stage function that processes one or more shards."""
    table = Path(snakemake.output.table)
    batch = snakemake.wildcards.get("batch")
    # Table: results/gpu/animate/batch-0000.parquet or results/animate/SHARD.parquet; files: results/animate/SHARD.
    stage = table.parents[2] / table.parent.name if batch else table.parent
    label = label_of(batch or snakemake.wildcards.shard)
    return {
        # Crops of drivers have no animator: their motions are those of the job's.
        "folders": {Path(path): stage / _labelled(Path(path).stem, label) for path in tables},
        "table": table,
        "code": snakemake.params.code,
        "max_failed_fraction": max_failed_fraction(snakemake),
    }


def _labelled(shard: str, label: str) -> str:
    return shard if label_of(shard) == label else shard_of_animator(shard, label)


def shard_arguments(snakemake: Any) -> dict[str, Any]:
    """Return the common arguments of a stage function that writes files: table, folder, code digest, failure limit."""
    table = Path(snakemake.output.table)
    return {
        "table": table,
        "folder": table.with_suffix(""),
        "code": snakemake.params.code,
        "max_failed_fraction": max_failed_fraction(snakemake),
    }


def _set_threads(threads: int) -> None:
    # Snakemake already sets OMP_NUM_THREADS and the like; torch and OpenCV need an explicit call.
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    if "cv2" in sys.modules:
        import cv2

        cv2.setNumThreads(threads)
