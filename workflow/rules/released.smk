"""Finished clips of a published tree, sources.released: they enter after select, in place of all rules before it."""

from deepfakemnist.sources.released import KINDS


def clips_of_the_tree(wildcards):
    """Return the files of a shard."""
    return ROAD.files(KINDS[wildcards.kind], wildcards.shard)


rule enter:
    """Decode every clip of a shard to its end; what is broken or has another rate is a row that says so."""
    input:
        clips_of_the_tree,
    output:
        table="<results>/enter/{kind}/{shard}.parquet",
    log:
        "<logs>/enter/{kind}/{shard}.log",
    benchmark:
        "<benchmarks>/enter/{kind}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        rows=lambda wildcards: digest(ROAD.rows(KINDS[wildcards.kind], wildcards.shard)),
        fps=CONFIG.crop.fps,
        code=code_digest("dataset.enter"),
    script:
        "../scripts/enter.py"
