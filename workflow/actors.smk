"""Film a cast of synthetic actors: ordinary videos and the two sample sheets that name them.

snakemake -s workflow/actors.smk --cores 8 --configfile config/actors/demo.yaml
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

sys.path.insert(0, str(Path(workflow.basedir).parent / "src"))

from pydantic import ValidationError
from snakemake.exceptions import WorkflowError

from deepfakemnist.actors.bank import DEFAULT_BANK
from deepfakemnist.actors.cast import CastSettings, drivers, sources
from deepfakemnist.code_digest import code_digest

try:
    CAST = CastSettings(**config)
except ValidationError as error:
    raise WorkflowError(f"the cast's config is not usable: {error}") from None

FOLDER = str(CAST.folder)
SHOTS = {"sources": sources(CAST), "drivers": drivers(CAST)}
SETTINGS = CAST.model_dump(mode="json")
# Starting Python takes longer than a short clip: a job films several.
PER_JOB = max(3, min(16, -(-sum(map(len, SHOTS.values())) // 24)))


def jobs(role):
    """Listings of the jobs that film the sources or the drivers."""
    return expand(
        f"{FOLDER}/filmed/{role}/{{job}}.txt",
        job=range(-(-len(SHOTS[role]) // PER_JOB)),
    )


def names(role, job):
    """The videos that a job films."""
    return [shot.name for shot in SHOTS[role][int(job) * PER_JOB :][:PER_JOB]]


wildcard_constraints:
    job=r"\d+",


localrules:
    film_all,
    cast_sheets,


rule film_all:
    """Every video and both sheets."""
    default_target: True
    input:
        f"{FOLDER}/sources.tsv",
        f"{FOLDER}/drivers.tsv",
        jobs("sources"),
        jobs("drivers"),


rule cast_sheets:
    """The sample sheets; they need no video to be there."""
    output:
        sources=f"{FOLDER}/sources.tsv",
        drivers=f"{FOLDER}/drivers.tsv",
    log:
        f"{FOLDER}/logs/cast_sheets.log",
    benchmark:
        f"{FOLDER}/benchmarks/cast_sheets.tsv"
    conda:
        "../envs/media.yaml"
    params:
        settings=SETTINGS,
        code=code_digest("actors.cast"),
    script:
        "scripts/cast_sheets.py"


rule render_sources:
    """Some of the sources, who talk, and of the planted flaws. The output lists the videos."""
    input:
        bank=ancient(DEFAULT_BANK),
    output:
        listing=f"{FOLDER}/filmed/sources/{{job}}.txt",
    log:
        f"{FOLDER}/logs/render_sources/{{job}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/render_sources/{{job}}.tsv"
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        settings=SETTINGS,
        names=lambda wildcards: names("sources", wildcards.job),
        code=code_digest("actors.cast"),
    script:
        "scripts/render_actors.py"


use rule render_sources as render_drivers with:
    # Some of the drivers, who perform an action each.
    output:
        listing=f"{FOLDER}/filmed/drivers/{{job}}.txt",
    log:
        f"{FOLDER}/logs/render_drivers/{{job}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/render_drivers/{{job}}.tsv"
    params:
        settings=SETTINGS,
        names=lambda wildcards: names("drivers", wildcards.job),
        code=code_digest("actors.cast"),


rule bake_actors:
    """Another bank of heads than the one in resources/actors; needs the extra actors. Made only when asked for."""
    output:
        bank="results/actors/bank.npz",
    log:
        "results/actors/logs/bake_actors.log",
    benchmark:
        "results/actors/benchmarks/bake_actors.tsv"
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=code_digest("actors.bake"),
    script:
        "scripts/bake_actors.py"
