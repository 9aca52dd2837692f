"""Animation quality: metrics of every animation, the animator's error on its drivers, and their report page."""


rule judge:
    """Measure action transfer, identity preservation, sharpness and tearing of every animation."""
    input:
        animations="<results>/animate/{shard}.parquet",
        sources=source_crops,
        candidates=candidates_of_round,
        drivers=driver_tables("crop/driver"),
        media=media_of(
            "<results>/animate/{shard}.parquet",
            source_crops,
            driver_tables("crop/driver"),
        ),
    output:
        table="<results>/judge/{shard}.parquet",
    log:
        "<logs>/judge/{shard}.log",
    benchmark:
        "<benchmarks>/judge/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(240),
    params:
        *key_texts("judge", CONFIG.judge),
        settings=unwatched(settings_of("judge")),
        code=code_digest("animation_quality.stage"),
    script:
        "../scripts/judge.py"


rule reenact:
    """Animate every driver by itself and compare the result with it, the field's measure of an animator."""
    input:
        crops=driver_crop,
        motions="<results>/extract_motion/{shard}.parquet",
        media=media_of(
            driver_crop,
            "<results>/extract_motion/{shard}.parquet",
        ),
        weights=animator_weights,
    output:
        table="<results>/reenact/{shard}.parquet",
    log:
        "<logs>/reenact/{shard}.log",
    benchmark:
        "<benchmarks>/reenact/{shard}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=animator_gpus,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        *animation_texts("source_frame", "start_frame"),
        *key_texts("judge", CONFIG.judge),
        *key_texts("reenact", CONFIG.reenact),
        settings=animator_settings,
        quality=unwatched(settings_of("judge")),
        reenactment=unwatched(settings_of("reenact")),
        weights=weights_version,
        code=animator_code("reenactment.stage"),
    script:
        "../scripts/reenact.py"


rule animation_page:
    """Report page on action transfer, identity preservation, sharpness, tearing and self-reenactment."""
    input:
        tables=fake_tables("<results>/judge/{shard}.parquet"),
        rounds=tables_of_rounds,
        reenacted=tables(
            "<results>/reenact/{shard}.parquet", shards=RUN_PLAN.motion_shards()
        ),
    output:
        page=report(
            "<results>/report/animation.html",
            category="4 Fakes",
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
        mem_mb=by_videos(600, per_thousand=15),
        runtime=growing(30),
    params:
        notice=CONFIG.report.notice,
        code=code_digest("report.animation_page"),
    script:
        "../scripts/animation_page.py"
