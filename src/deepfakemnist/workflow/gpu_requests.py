"""GPU requests of jobs: from the config's device, this machine, and the resources that a cluster profile sets.

The machine that plans a run on a cluster has no GPU, as a rule, so it says nothing about the nodes of the jobs. Their
profile does, by ``gpu`` among the resources of a rule; a config in the profile would not last, because ``--config`` on
the command line replaces the whole of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from deepfakemnist.devices.gpu_allocation import has_gpu

#: Environment variable with the number of GPUs per job, as detected by the run's main process.
_GPUS_VARIABLE = "DEEPFAKEMNIST_GPUS"
#: Resources that request a GPU: of our rules, and of the SLURM plugin.
_REQUESTS = ("gpu", "gpus", "gpu_model", "nvidia_gpu", "gres")


def gpus_of_run(device: str, starts_here: bool, profile: Mapping[str, Mapping[str, Any]] | None = None) -> int:
    """Return gpus_per_job as detected by the run's main process, and pass it to all jobs in DEEPFAKEMNIST_GPUS.

    Jobs on other machines parse the workflow again, and must get the rules that the run was planned with.
    """
    if starts_here or _GPUS_VARIABLE not in os.environ:
        os.environ[_GPUS_VARIABLE] = str(gpus_per_job(device, profile))
    return int(os.environ[_GPUS_VARIABLE])


def gpus_per_job(device: str, profile: Mapping[str, Mapping[str, Any]] | None = None) -> int:
    """Return the number of GPUs that a GPU-capable job requests from the scheduler: 1 or 0.

    ``auto`` requests one if this process sees an NVIDIA GPU or the profile requests one for any rule. Without a GPU, a
    request would only serialise such jobs under ``--resources gpu=1``.

    Args:
        device: auto, cuda or cpu.
        profile: resources set by ``--set-resources`` or a profile: rule → name → value.
    """
    if device == "auto":
        return int(bool(rules_with_gpu(profile or {})) or has_gpu())
    return int(device == "cuda")


def rules_with_gpu(profile: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the rules for which a profile requests a GPU, sorted."""
    return sorted(
        rule for rule, resources in profile.items() if any(_is_request(name, resources.get(name)) for name in _REQUESTS)
    )


def gpu_advice(device: str, profile: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a line for the user where device, machine and profile do not fit; else an empty text."""
    rules = ", ".join(rules_with_gpu(profile))
    if device == "cpu" and rules:
        return (
            f"device is cpu, but the profile requests a GPU for {rules}. In a copy of the profile, delete `gpu` and "
            "set the CPU partition there, or these jobs hold GPUs that they do not use"
        )
    if device == "cuda" and not has_gpu():
        return (
            "device is cuda, but this machine has no NVIDIA GPU: jobs that need one end with an error, unless they run "
            "on nodes that have, e.g. by --workflow-profile profiles/slurm"
        )
    return ""


def _is_request(name: str, resource: Any) -> bool:
    """Return whether a resource requests a GPU: a value, or Snakemake's expression with the text as given."""
    given = str(getattr(resource, "raw", resource) or "").strip()
    return given not in ("", "0") and (name != "gres" or "gpu" in given)
