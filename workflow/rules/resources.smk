"""Time, memory and GPUs of jobs."""

from deepfakemnist.workflow.gpu_requests import gpu_advice, gpus_of_run
from deepfakemnist.workflow.script import clips_per_job

# By --set-resources or a profile: the machine that plans a run on a cluster has no GPU itself.
SET_RESOURCES = workflow.resource_settings.overwrite_resources
GPUS = gpus_of_run(CONFIG.device, workflow.is_main_process, SET_RESOURCES)
if CHECK_FILES and (advice := gpu_advice(CONFIG.device, SET_RESOURCES)):
    print(advice, file=sys.stderr)
NEEDS_GPU = [
    one.named
    for one in ANIMATORS.values()
    if one.gpu_only and not getattr(one, "allow_cpu", False)
]
if CHECK_FILES and not GPUS and NEEDS_GPU and not RUN_PLAN.released:
    raise WorkflowError(
        f"{', '.join(NEEDS_GPU)} needs a GPU, and this run has none: run it on a machine with one, set device: cuda to "
        "request GPUs from a scheduler, or allow_cpu: true to wait many seconds for each frame"
    )
# Results of a run with packed media may lie in a bucket; their layout follows from the config alone.
CLIPS_PER_JOB = clips_per_job(
    CONFIG.clips_per_gpu_job,
    GPUS if any(one.may_use_gpu for one in ANIMATORS.values()) else 0,
    Path(RESULTS) if CONFIG.storage.media == "files" else None,
)


# Animators without a GPU start at once: of them, a shard is a job even where those of others are batched.
UNBATCHED = (
    {label for label, one in ANIMATORS.items() if not one.may_use_gpu}
    if CONFIG.clips_per_gpu_job == "auto"
    else set()
)


envvars:
    # Set above by the main process, and read by jobs on other machines.
    "DEEPFAKEMNIST_GPUS",
    "DEEPFAKEMNIST_PLAN",


def animator_gpus(wildcards):
    """Return the GPUs of a job of an animator: one on the CPU needs as many jobs as there are cores, and none."""
    return GPUS if animator_of(wildcards).may_use_gpu else 0


def growing(amount):
    """Return mem_mb or runtime that grows with each attempt, for jobs that a cluster ended at their limit."""
    return lambda wildcards, attempt: attempt * amount


def by_videos(base, per_thousand):
    """Return mem_mb for tables of the whole dataset, growing with the number of sources and with each attempt."""
    count = RUN_PLAN.count("source")
    return lambda wildcards, attempt: attempt * (base + per_thousand * count // 1000)
