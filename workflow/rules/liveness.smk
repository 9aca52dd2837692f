"""Ask liveness detectors about every animation, and select those that all of them took for a live person."""


rule liveness:
    """One provider's verdict on every animation of a shard."""
    input:
        animations="<results>/animate/{shard}.parquet",
    output:
        table="<results>/liveness/{provider}/{shard}.parquet",
    log:
        "<logs>/liveness/{provider}/{shard}.log",
    benchmark:
        "<benchmarks>/liveness/{provider}/{shard}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        settings=lambda wildcards: PROVIDERS[wildcards.provider].model_dump(mode="json"),
        fps=CONFIG.crop.fps,
        code=code_digest("liveness.stages"),
    script:
        "../scripts/liveness.py"


rule select:
    """Accept an animation when every provider took it for a live person."""
    input:
        animations="<results>/animate/{shard}.parquet",
        verdicts=expand(
            "<results>/liveness/{provider}/{{shard}}.parquet", provider=PROVIDERS
        ),
    output:
        table="<results>/select/{shard}.parquet",
    log:
        "<logs>/select/{shard}.log",
    benchmark:
        "<benchmarks>/select/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_digest("liveness.select"),
    script:
        "../scripts/select.py"
