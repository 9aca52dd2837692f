"""Finished clips of a published tree, sources.released: they enter after select, in place of all rules before it."""

from deepfakemnist.sources.released import KINDS


rule enter:
    """Decode every clip of a shard to its end; what is broken or has another rate is a row that says so."""
    input:
        lambda wildcards: ROAD.files(KINDS[wildcards.kind], wildcards.shard),
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
