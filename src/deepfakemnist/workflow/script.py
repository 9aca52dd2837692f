"""What every script of the workflow does first: log file, threads, GPUs, a readable end when something is wrong."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from deepfakemnist.config.load import load_config
from deepfakemnist.devices.gpu_allocation import has_gpu, take_cards
from deepfakemnist.errors import ConfigError, TooManyFailures
from deepfakemnist.workflow.run_plan import RunPlan

#: A start costs 7 to 10 s (Python, torch, CUDA, weights, graphs), a clip 0.2 to 0.6 s on an H100: 2 to 6 %.
_CLIPS_PER_GPU_JOB = 800
#: How many GPUs a job asks for, as found where the run was started.
_GPUS_VARIABLE = "DEEPFAKEMNIST_GPUS"


@contextmanager
def stage_script(snakemake: Any) -> Iterator[None]:
    """Run the body of a workflow script with its log, its threads, its GPUs and its errors in order.

    Log lines go to the rule's log file, and warnings to the terminal too. Numeric libraries get as many threads as
    Snakemake gave the job: many single-threaded jobs beat one many-threaded job. A job with the resource ``gpu`` sees
    as many cards and no others, which it has for itself unless the config's ``gpu_share`` says more. An error the user
    can mend ends with its message, anything else with its traceback in the log.
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
            take_cards(int(snakemake.resources.gpu), share, device_of(snakemake))
        yield
    except (ConfigError, TooManyFailures) as error:
        logging.getLogger(snakemake.rule).error("%s", error)
        sys.exit(1)
    except Exception:
        logging.getLogger(snakemake.rule).exception("rule %s ended with an error", snakemake.rule)
        sys.exit(1)


def gpus_of_run(device: str, starts_here: bool) -> int:
    """Return gpus_wanted as the run's first process found it, and tell it to its jobs by DEEPFAKEMNIST_GPUS.

    Jobs on other machines parse the workflow again, and must find the rules that the run was planned with.
    """
    if starts_here or _GPUS_VARIABLE not in os.environ:
        os.environ[_GPUS_VARIABLE] = str(gpus_wanted(device))
    return int(os.environ[_GPUS_VARIABLE])


def clips_per_job(setting: Literal["auto"] | int | None, gpus: int, results: Path) -> int:
    """Return about how many clips a job animates; 0 for a job per shard.

    ``auto`` goes on as results were begun: from other inputs than they were made of, Snakemake would make them again on
    the first machine with a GPU, or without.

    Args:
        setting: the config's ``clips_per_gpu_job``.
        gpus: as of gpus_of_run.
        results: folder of the results.
    """
    if setting != "auto":
        return setting or 0
    if (results / "gpu").exists():
        return _CLIPS_PER_GPU_JOB
    begun = any(any((results / stage).glob("*.parquet")) for stage in ("extract_motion", "animate"))
    return _CLIPS_PER_GPU_JOB if gpus and not begun else 0


def gpus_wanted(device: str) -> int:
    """Return how many GPUs a job that can use one asks the scheduler for: 1 or 0.

    ``auto`` asks for one where this process sees an NVIDIA GPU. Asking on a machine without would run such jobs one at
    a time under ``--resources gpu=1``, with nothing gained.
    """
    if device == "auto":
        return int(has_gpu())
    return int(device == "cuda")


def run_plan_of(snakemake: Any) -> RunPlan:
    """Return the videos and the config of the run a script belongs to."""
    return RunPlan(load_config(snakemake.config), check_files=False)


def device_of(snakemake: Any) -> str:
    """Return auto, cuda or cpu."""
    return str(snakemake.config.get("device", "auto"))


def decoders_of(snakemake: Any, processes: int = 1) -> int:
    """Return how many processes decode frames beside each of the ``processes`` that run a network.

    With a GPU all cores of the job but one. On a CPU the network wants the cores: one decoder, where there is a second
    core, is ahead of every network.
    """
    cores = int(snakemake.threads) // processes
    return max(cores - 1, 0) if snakemake.resources.get("gpu") else min(max(cores - 1, 0), 1)


def input_path(snakemake: Any, name: str) -> Path | None:
    """Return a named input file, or None where the rule has none under that name."""
    value = snakemake.input.get(name)
    return Path(value) if value else None


def max_failed_fraction(snakemake: Any) -> float:
    """Return the share of a stage's videos that may fail."""
    return load_config(snakemake.config).max_failed_fraction


def job_arguments(snakemake: Any, tables: list[str]) -> dict[str, Any]:
    """Return what a stage that works on one or several shards is told: their tables and folders, and the rest."""
    table = Path(snakemake.output.table)
    batch = snakemake.wildcards.get("batch")
    # results/gpu/animate/batch-0000.parquet, or results/animate/SHARD.parquet: files lie in results/animate/SHARD.
    stage = table.parents[2] / table.parent.name if batch else table.parent
    return {
        "folders": {Path(path): stage / Path(path).stem for path in tables},
        "table": table,
        "code": snakemake.params.code,
        "max_failed_fraction": max_failed_fraction(snakemake),
        "keep_journal": bool(batch),
    }


def shard_arguments(snakemake: Any) -> dict[str, Any]:
    """Return what every stage that makes files is told: its table, the folder beside it, code digest, failure limit."""
    table = Path(snakemake.output.table)
    return {
        "table": table,
        "folder": table.with_suffix(""),
        "code": snakemake.params.code,
        "max_failed_fraction": max_failed_fraction(snakemake),
    }


def _set_threads(threads: int) -> None:
    # Snakemake has set OMP_NUM_THREADS and its kin already; these two libraries want to be told.
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    if "cv2" in sys.modules:
        import cv2

        cv2.setNumThreads(threads)
