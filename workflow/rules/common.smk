"""What all other files here use: the validated config, the shards, and questions about them."""

import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError

from deepfakemnist.code_digest import code_digest
from deepfakemnist.config.load import load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.motions import read_motions
from deepfakemnist.workflow.run_plan import RunPlan, digest, round_of, source_shard
from deepfakemnist.workflow.script import clips_per_job, gpus_of_run

try:
    CONFIG = load_config(config)
    # Jobs need not check the files again, and who lints the rules may have no videos.
    RUN_PLAN = RunPlan(
        CONFIG,
        check_files=workflow.is_main_process and "--lint" not in sys.argv,
    )
except ConfigError as error:
    raise WorkflowError(str(error)) from None

RESULTS = CONFIG.pathvars.get("results", "results")
LOGS = f"{RESULTS}/logs"
SHARDS = RUN_PLAN.shards("source")
DRIVER_SHARDS = RUN_PLAN.shards("driver")
GPUS = gpus_of_run(CONFIG.device, starts_here=workflow.is_main_process)
CLIPS_PER_JOB = clips_per_job(CONFIG.clips_per_gpu_job, GPUS, Path(RESULTS))
PROVIDERS = {provider.provider: provider for provider in CONFIG.liveness.providers}


def settings_of(part):
    """Return a part of the config as plain values, for params: a change re-runs what uses it."""
    return getattr(CONFIG, part).model_dump(mode="json")


def tables(pattern, **wildcards):
    """Return the tables of a stage, one per source shard unless shards are named."""
    return expand(pattern, shard=wildcards.pop("shards", SHARDS), **wildcards)


def unless_released(files):
    """Return tables of the stages before compress; none where the clips come finished, from a published tree."""
    return [] if RUN_PLAN.released else files


def source_crops(wildcards):
    """Return the table of cropped sources that a shard of fakes was planned from."""
    return f"<results>/crop/source/{source_shard(wildcards.shard)}.parquet"


def training_crops(role, shards):
    """Return the tables of crops the animator is trained on; none where the config names clips for that."""
    if CONFIG.animator.train.clips:
        return []
    return tables(f"<results>/crop/{role}/{{shard}}.parquet", shards=shards)


def animator_weights(wildcards):
    """Return the weights the config names, or those the workflow trains; nothing for an animator without."""
    if CONFIG.animator.needs_training:
        return "<results>/animator/checkpoint.safetensors"
    return CONFIG.animator.weights or []


def animator_code():
    """Return the digest of the animation stages and of the animator they load."""
    return code_digest("animate.stages", f"animate.animators.{CONFIG.animator.name}")


def clips_to_compress(wildcards):
    """Return the table of clips to encode: real ones come from crop, fakes from select, finished ones from enter."""
    if RUN_PLAN.released:
        return f"<results>/import_released/{wildcards.kind}/{wildcards.shard}.parquet"
    if wildcards.kind == "real":
        return source_crops(wildcards)
    return f"<results>/select/{wildcards.shard}.parquet"


def asked_motions(wildcards):
    """Return what a vendor is asked for per action; nothing for local providers. A change re-runs that vendor only."""
    try:
        return read_motions(CONFIG.liveness.motions, wildcards.provider)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def answers_folder():
    """Return where the vendors' answers are kept: beside the tables, not among them, since they outlive every run."""
    results = CONFIG.pathvars.get("results", "results")
    return str(CONFIG.liveness.answers or f"{results}/liveness_answers")


def predictions(name):
    """Return a table of predictions of every trained detector."""
    return expand(
        f"<results>/detectors/{{detector}}/{{trained_on}}/seed{{seed}}/{name}.parquet",
        detector=DETECTORS,
        trained_on=CONFIG.training.sets(CONFIG.plan.actions),
        seed=CONFIG.training.seeds,
    )
