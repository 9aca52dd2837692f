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
SHOTS = [*sources(CAST), *drivers(CAST)]
SETTINGS = CAST.model_dump(mode="json")
# Starting Python takes longer than a short clip: a job films several.
PER_JOB = max(3, min(16, -(-len(SHOTS) // 24)))
JOBS = range(-(-len(SHOTS) // PER_JOB))


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
        expand(f"{FOLDER}/filmed/{{job}}.txt", job=JOBS),


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


rule render_actors:
    """Some videos: sources who talk, drivers who perform an action, planted flaws. The output lists them."""
    input:
        bank=ancient(DEFAULT_BANK),
    output:
        listing=f"{FOLDER}/filmed/{{job}}.txt",
    log:
        f"{FOLDER}/logs/render_actors/{{job}}.log",
    benchmark:
        f"{FOLDER}/benchmarks/render_actors/{{job}}.tsv"
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        settings=SETTINGS,
        names=lambda wildcards: [
            shot.name
            for shot in SHOTS[
                int(wildcards.job) * PER_JOB : (int(wildcards.job) + 1) * PER_JOB
            ]
        ],
        code=code_digest("actors.cast"),
    script:
        "scripts/render_actors.py"


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
        identities=72,
        seed=20211,
        code=code_digest("actors.bake"),
    script:
        "scripts/bake_actors.py"
