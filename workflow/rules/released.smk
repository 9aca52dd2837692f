"""Import of a published dataset tree (sources.released), in place of all rules up to select."""

from deepfakemnist.sources.released import KINDS


rule import_released:
    """Verify the clips of a shard by a full decode and check their frame rate; a bad clip is a row with its reason."""
    input:
        videos_of_shard,
    output:
        table="<results>/import_released/{kind}/{shard}.parquet",
    log:
        "<logs>/import_released/{kind}/{shard}.log",
    benchmark:
        "<benchmarks>/import_released/{kind}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        # What Python, Arrow and FFmpeg take besides decoding.
        mem_mb=growing(CONFIG.sources.limits.memory_mb + 400),
        runtime=growing(60),
    params:
        *key_texts("sources.limits", CONFIG.sources.limits),
        rows=lambda wildcards: RUN_PLAN.rows_text(
            KINDS[wildcards.kind], wildcards.shard
        ),
        files=versions_of_shard,
        fps=CONFIG.crop.fps,
        code=code_digest("dataset.released_clips"),
    script:
        "../scripts/import_released.py"
