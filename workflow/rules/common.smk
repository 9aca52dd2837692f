"""Shared by all rules: validated config, run plan, shards, and input functions."""

import sys
from pathlib import Path

# Relative to this file: as a module, the main Snakefile is another workflow's.
ROOT = Path(str(workflow.current_basedir)).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError

from deepfakemnist.code_digest import code_digest, foreign_digest, keep_facts_in
from deepfakemnist.config.detectors import plugin_of_detector
from deepfakemnist.config.load import load_config
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.motions import read_motions
from deepfakemnist.workflow.bucket import Bucket
from deepfakemnist.workflow.params import described, digest, key_texts
from deepfakemnist.workflow.run_directory import check_run_directory, hint_at_defaults
from deepfakemnist.workflow.run_plan import FOLDER as PLANS
from deepfakemnist.workflow.run_plan import RunPlan
from deepfakemnist.workflow.sharding import round_of
from deepfakemnist.workflow.source_overview import describe_animators

keep_facts_in(PLANS / "modules.json")

try:
    CONFIG = load_config(config)
    RESULTS = CONFIG.pathvars.get("results", "results")
    # Only the main process checks files, and linting needs neither videos nor results.
    CHECK_FILES = workflow.is_main_process and "--lint" not in sys.argv
    if CHECK_FILES:
        check_run_directory(Path(RESULTS), CONFIG.liveness.answers)
    # Jobs on other machines get the plan from there.
    BUCKET = Bucket(workflow, CONFIG.storage.media)
    for plan in [] if workflow.is_main_process else RunPlan.files_of_run():
        BUCKET.fetch(plan)
    RUN_PLAN = RunPlan.of_run(
        CONFIG, is_main=workflow.is_main_process, check_files=CHECK_FILES
    )
    if CHECK_FILES:
        for plan in RunPlan.files_of_run():
            BUCKET.send(plan)
        print(RUN_PLAN.overview(), file=sys.stderr)
        if not RUN_PLAN.released:
            print(describe_animators(CONFIG.animators), file=sys.stderr)
except ConfigError as error:
    hint = hint_at_defaults(Path(), is_module=workflow.modifier.skip_configfile)
    raise WorkflowError(f"{error}{hint}") from None

LOGS = f"{RESULTS}/logs"
SHARDS = RUN_PLAN.shards("source")
DRIVER_SHARDS = RUN_PLAN.shards("driver")
#: Networks that start from their library's ImageNet weights, by file name.
IMAGENET = {
    detector.network: detector.name
    for detector in CONFIG.training.detectors
    if detector.weights == "imagenet"
}
PROVIDERS = {provider.provider: provider for provider in CONFIG.liveness.providers}


def settings_of(part):
    """Return a section of the config as plain values for params, so that a change re-runs the rules that use it."""
    return getattr(CONFIG, part).model_dump(mode="json")


def unwatched(settings):
    """Return settings for a script; a rule whose params hold their texts need not compare them as a whole too."""
    # Snakemake does not compare what follows from the input.
    return lambda wildcards, input: settings


def tables(pattern, **wildcards):
    """Return the tables of a stage, one per source shard unless shards are given."""
    return expand(pattern, shard=wildcards.pop("shards", SHARDS), **wildcards)


def driver_tables(stage):
    """Return the tables of the drivers of a stage, e.g. crop/driver."""
    return tables(f"<results>/{stage}/{{shard}}.parquet", shards=DRIVER_SHARDS)


def unless_released(files):
    """Return tables of stages before compress; none if finished clips are imported from a published tree."""
    return [] if RUN_PLAN.released else files


def used_frames(wildcards):
    """Return how many frames of a source are used; None of a driver, all of whose motion is."""
    return CONFIG.used_source_frames if wildcards.role == "source" else None


def plugin_code(plugin, *modules):
    """Return the code digest of modules and, unless it is None, of the plug-in that they run."""
    digest = code_digest(*modules)
    return f"{digest} {foreign_digest(plugin.module)}" if plugin else digest


def detector_code(*modules):
    """Return an input function for the code digest of modules and of the detector that they run."""

    def digest_of(wildcards):
        return plugin_code(
            plugin_of_detector(DETECTORS[wildcards.detector].name), *modules
        )

    return digest_of


def imagenet_file(wildcards):
    """Return the ImageNet weights that a detector starts from; none for other weights."""
    detector = DETECTORS[wildcards.detector]
    if detector.weights != "imagenet":
        return []
    return f"<results>/weights/{detector.network}.safetensors"


def clips_to_compress(wildcards):
    """Return the table of clips to encode: reals from crop, fakes from select, published clips from import_released."""
    if RUN_PLAN.released:
        return f"<results>/import_released/{wildcards.kind}/{wildcards.shard}.parquet"
    if wildcards.kind == "real":
        return f"<results>/crop/source/{wildcards.shard}.parquet"
    return f"<results>/select/{wildcards.shard}.parquet"


def asked_motions(wildcards):
    """Return the motions requested from a vendor per action, for params; a change re-runs that vendor only."""
    try:
        return read_motions(CONFIG.liveness.motions, wildcards.provider)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def answers_folder():
    """Return the cache of vendor answers, outside of the stage folders because it outlives every run."""
    results = CONFIG.pathvars.get("results", "results")
    return str(CONFIG.liveness.answers or f"{results}/liveness_answers")


def predictions(name, trained_on):
    """Return the named prediction table of every detector and seed trained on some of the training sets."""
    return expand(
        f"<results>/detectors/{{detector}}/{{trained_on}}/seed{{seed}}/{name}.parquet",
        detector=DETECTORS,
        trained_on=trained_on,
        seed=CONFIG.training.seeds,
    )
