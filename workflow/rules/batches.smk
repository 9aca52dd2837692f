"""Several shards to a job where a start costs more than a shard, as on a GPU: see clips_per_gpu_job."""

from functools import cache


envvars:
    # Set by gpus_of_run; jobs on other machines go by it.
    "DEEPFAKEMNIST_GPUS",


# Tables of jobs lie below gpu; a light job per shard takes its rows out of them. Clips lie with their shards always.
GPU_FOLDER = "gpu/" if CLIPS_PER_JOB else ""
JOB = "{batch}" if CLIPS_PER_JOB else "{shard}"


@cache
def motion_jobs():
    """Return job → shards of drivers, and shard → job."""
    return with_inverse(RUN_PLAN.driver_batches(CLIPS_PER_JOB))


def animate_jobs(number):
    """Return job → shards of fakes of a round, and shard → job."""
    if number == 1:
        return animate_jobs_of()
    table = Path(checkpoints.draw_candidates.get(round=number).output.table)
    return animate_jobs_of(table, table.stat().st_mtime_ns)


@cache
def animate_jobs_of(*drawn):
    return with_inverse(
        RUN_PLAN.fake_batches(CLIPS_PER_JOB, candidates_at(*drawn) if drawn else None)
    )


def with_inverse(jobs):
    return jobs, {shard: job for job, shards in jobs.items() for shard in shards}


def known(name, names):
    """Return the entry of a name, or say that the run has no such job or shard."""
    if name not in names:
        raise WorkflowError(f"this run has no {name}")
    return names[name]


def crops_to_drive(wildcards):
    """Return the tables of the drivers of a job."""
    shards = [wildcards.get("shard")]
    if CLIPS_PER_JOB:
        shards = known(wildcards.batch, motion_jobs()[0])
    return tables("<results>/crop/driver/{shard}.parquet", shards=shards)


def plans_to_animate(wildcards):
    """Return the plans of the fakes of a job."""
    shards = [wildcards.get("shard")]
    if CLIPS_PER_JOB:
        shards = known(wildcards.batch, animate_jobs(round_of(wildcards.batch))[0])
    return tables("<results>/plan/{shard}.parquet", shards=shards)


def motion_job(wildcards):
    """Return the table of the job that a shard of drivers is in."""
    job = known(wildcards.shard, motion_jobs()[1])
    return f"<results>/gpu/extract_motion/{job}.parquet"


def animated(wildcards):
    """Return the table of the job that a shard of fakes is in."""
    job = known(wildcards.shard, animate_jobs(round_of(wildcards.shard))[1])
    return f"<results>/gpu/animate/{job}.parquet"
