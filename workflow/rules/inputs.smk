"""Input files of the run, known by content: their versions are params of the rules that read them."""

from deepfakemnist.animate.rendered_table import (
    clips_by_pair,
    clips_of_table,
    rendered_animators,
)
from deepfakemnist.sources.released import KINDS
from deepfakemnist.workflow.input_files import InputFiles
from deepfakemnist.workflow.weight_pins import check_weight_files, check_weight_pins

INPUT_FILES = InputFiles(Path(RESULTS), compare=CHECK_FILES)

if CHECK_FILES:
    try:
        check_weight_files(CONFIG, INPUT_FILES)
        for one in rendered_animators(CONFIG.animators):
            clips_of_table(one.table)
        if not RUN_PLAN.released and (
            unpinned := check_weight_pins(CONFIG.animators, INPUT_FILES, Path(RESULTS))
        ):
            print(unpinned, file=sys.stderr)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def table_of_files(wildcards):
    """Return the table that is made from the files of a shard, and records their versions."""
    if RUN_PLAN.released:
        return f"{RESULTS}/import_released/{wildcards.kind}/{wildcards.shard}.parquet"
    return f"{RESULTS}/ingest/{wildcards.role}/{wildcards.shard}.parquet"


def files_of_shard(wildcards):
    """Return the existing videos and annotations of a shard."""
    role = KINDS[wildcards.kind] if RUN_PLAN.released else wildcards.role
    return RUN_PLAN.files(role, wildcards.shard)


def videos_of_shard(wildcards):
    """Return the same, as ancient where only the time stamp has changed; no job writes them, so that hides nothing."""
    table = table_of_files(wildcards)
    return [
        ancient(path) if INPUT_FILES.is_touched(table, path) else path
        for path in files_of_shard(wildcards)
    ]


def versions_of_shard(wildcards):
    """Return a digest of the versions of the files of a shard, for params."""
    table = table_of_files(wildcards)
    return digest(INPUT_FILES.versions(table, files_of_shard(wildcards)))
