"""Rendering of a cast of synthetic actors: ordinary videos and the two sample sheets that list them.

snakemake -s workflow/actors.smk --cores 8 --configfile config/actors/demo.yaml
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

sys.path.insert(0, str(Path(workflow.basedir).parent / "src"))

from pydantic import ValidationError
from snakemake.exceptions import WorkflowError

from deepfakemnist.actors.bank import DEFAULT_BANK_SHA256
from deepfakemnist.actors.cast import CastSettings, drivers, sources
from deepfakemnist.code_digest import code_digest

try:
    CAST = CastSettings(**config)
except ValidationError as error:
    raise WorkflowError(f"invalid cast config: {error}") from None

FOLDER = str(CAST.folder)
SHOTS = {"sources": sources(CAST), "drivers": drivers(CAST)}
SETTINGS = CAST.model_dump(mode="json")
# Starting Python takes longer than rendering a short clip, so a job renders several.
PER_JOB = max(3, min(16, -(-sum(map(len, SHOTS.values())) // 24)))


def jobs(role):
    """Return the listings written by the rendering jobs of a role."""
    return expand(
        f"{FOLDER}/filmed/{role}/{{job}}.txt",
        job=range(-(-len(SHOTS[role]) // PER_JOB)),
    )


def names(role, job):
    """Return the names of the videos that a job renders."""
    return [shot.name for shot in SHOTS[role][int(job) * PER_JOB :][:PER_JOB]]


wildcard_constraints:
    job=r"\d+",


localrules:
    film_all,
    cast_sheets,


rule film_all:
    """Render all videos and write both sheets."""
    default_target: True
    input:
        f"{FOLDER}/sources.tsv",
        f"{FOLDER}/drivers.tsv",
        jobs("sources"),
        jobs("drivers"),


rule cast_sheets:
    """Write the sample sheets; they do not depend on the videos."""
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
    """Render a batch of source videos, planted flaws included; the output lists the videos."""
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
        # Known by content: a checkout may give the file any time.
        bank=DEFAULT_BANK_SHA256,
        code=code_digest("actors.cast"),
    script:
        "scripts/render_actors.py"


use rule render_sources as render_drivers with:
    # Render a batch of driving videos, one action each.
    output:
        listing=f"{FOLDER}/filmed/drivers/{{job}}.txt",
    log:
        f"{FOLDER}/logs/render_drivers/{{job}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/render_drivers/{{job}}.tsv"
    params:
        settings=SETTINGS,
        names=lambda wildcards: names("drivers", wildcards.job),
        bank=DEFAULT_BANK_SHA256,
        code=code_digest("actors.cast"),


rule bake_actors:
    """Bake a new bank of heads; needs the extra `actors` and runs only on request."""
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
