"""Animation quality: metrics of every animation, and their report page."""


rule judge:
    """Measure action transfer, identity preservation, sharpness and tearing of every animation."""
    input:
        animations="<results>/animate/{shard}.parquet",
        sources=source_crops,
        drivers=tables("<results>/crop/driver/{shard}.parquet", shards=DRIVER_SHARDS),
    output:
        table="<results>/judge/{shard}.parquet",
    log:
        "<logs>/judge/{shard}.log",
    benchmark:
        "<benchmarks>/judge/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=3000,
        runtime=240,
    params:
        *key_texts("judge", CONFIG.judge),
        settings=unwatched(settings_of("judge")),
        code=code_digest("animation_quality.stage"),
    script:
        "../scripts/judge.py"


rule animation_page:
    """Report page on action transfer, identity preservation, sharpness and tearing."""
    input:
        tables=fake_tables("<results>/judge/{shard}.parquet"),
    output:
        page=report(
            "<results>/report/animation.html",
            category="Animator",
            labels={"what": "animation quality"},
            caption="../report/animation.rst",
        ),
    log:
        "<logs>/animation_page.log",
    benchmark:
        "<benchmarks>/animation_page.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_digest("report.animation_page"),
    script:
        "../scripts/animation_page.py"
