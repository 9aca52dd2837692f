"""Batching of shards into jobs where start-up dominates, as on a GPU; see clips_per_gpu_job."""

from functools import cache

# Batch tables lie in gpu/, and a light job per shard extracts its rows. Clips always lie in the folder of their shard.
GPU_FOLDER = "gpu/" if CLIPS_PER_JOB else ""
JOB = "{batch}" if CLIPS_PER_JOB else "{shard}"


@cache
def motion_jobs():
    """Return job → driver shards, and shard → job."""
    return with_inverse(RUN_PLAN.driver_batches(CLIPS_PER_JOB, UNBATCHED))


def animate_jobs(number):
    """Return job → fake shards of a round, and shard → job."""
    return animate_jobs_of(fake_round(number))


@cache
def animate_jobs_of(one):
    return with_inverse(one.batches(CLIPS_PER_JOB, UNBATCHED))


def with_inverse(jobs):
    return jobs, {shard: job for job, shards in jobs.items() for shard in shards}


def look_up(name, names):
    """Return the entry of a job or shard, or raise WorkflowError if the run has none of that name."""
    if name not in names:
        raise WorkflowError(f"this run has no {name}")
    return names[name]


def look_up_fakes(name, which):
    """Return the entry of an animation job (which 0) or fake shard (1) of its round.

    None for one that the round had before it was drawn again: Snakemake asks for the inputs of such a job before it
    drops it.
    """
    names = animate_jobs(round_of(name))[which]
    if name not in names and any(
        name in animate_jobs_of(one)[which] for one in LATER_ROUNDS
    ):
        return None
    return look_up(name, names)


def driver_crops(wildcards):
    """Return the crop tables of the drivers of a job."""
    shards = [wildcards.get("shard")]
    if CLIPS_PER_JOB:
        shards = look_up(wildcards.batch, motion_jobs()[0])
    return tables("<results>/crop/driver/{shard}.parquet", shards=map(range_of, shards))


def shards_to_animate(wildcards):
    """Return the fake shards of an animation job."""
    if CLIPS_PER_JOB:
        return look_up_fakes(wildcards.batch, 0) or []
    return [wildcards.shard]


def plans_to_animate(wildcards):
    """Return the plan tables of the fakes of a job."""
    return tables("<results>/plan/{shard}.parquet", shards=shards_to_animate(wildcards))


def crops_to_animate(wildcards):
    """Return the tables of the cropped sources of a job's fakes."""
    shards = shards_to_animate(wildcards)
    sources = (fake_round(round_of(shard)).sources_of(shard) for shard in shards)
    return tables(
        "<results>/crop/source/{shard}.parquet", shards=sorted(set().union(*sources))
    )


def motion_job_table(wildcards):
    """Return the batch table that contains a driver shard."""
    job = look_up(wildcards.shard, motion_jobs()[1])
    return f"<results>/gpu/extract_motion/{job}.parquet"


def animate_job_table(wildcards):
    """Return the batch table that contains a fake shard."""
    job = look_up_fakes(wildcards.shard, 1)
    return f"<results>/gpu/animate/{job}.parquet" if job else []
