"""One encode chain for real and fake, and still frames of every clip."""


rule compress:
    """Encode every clip of a shard at each quality, real and fake alike."""
    input:
        clips=clips_to_compress,
    output:
        table="<results>/compress/{kind}/{shard}.parquet",
    log:
        "<logs>/compress/{kind}/{shard}.log",
    benchmark:
        "<benchmarks>/compress/{kind}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        settings=settings_of("compress"),
        fps=CONFIG.crop.fps,
        code=code_digest("media.compress"),
    script:
        "../scripts/compress.py"


rule frames:
    """Take evenly spaced frames of every clip and quality, stored losslessly."""
    input:
        compressed="<results>/compress/{kind}/{shard}.parquet",
    output:
        table="<results>/frames/{kind}/{shard}.parquet",
    log:
        "<logs>/frames/{kind}/{shard}.log",
    benchmark:
        "<benchmarks>/frames/{kind}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=settings_of("frames"),
        code=code_digest("media.frames"),
    script:
        "../scripts/frames.py"
