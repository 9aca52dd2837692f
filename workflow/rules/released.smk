"""Finished clips of a published tree, sources.released: they enter after select, in place of all rules before it."""

from deepfakemnist.sources.released import KINDS


rule import_released:
    """Decode every clip of a shard to its end; what is broken or has another rate is a row that says so."""
    input:
        lambda wildcards: RUN_PLAN.files(KINDS[wildcards.kind], wildcards.shard),
    output:
        table="<results>/import_released/{kind}/{shard}.parquet",
    log:
        "<logs>/import_released/{kind}/{shard}.log",
    benchmark:
        "<benchmarks>/import_released/{kind}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        rows=lambda wildcards: digest(
            RUN_PLAN.rows(KINDS[wildcards.kind], wildcards.shard)
        ),
        fps=CONFIG.crop.fps,
        code=code_digest("dataset.released_clips"),
    script:
        "../scripts/import_released.py"
