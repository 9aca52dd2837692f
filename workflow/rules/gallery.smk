"""Gallery of the report: real and fake clips side by side, playing."""


rule gallery_page:
    """Source, driver and fake of the best, the worst and rejected fakes, as clips within a page."""
    input:
        videos="<results>/manifest/videos.parquet",
        ledger="<results>/manifest/ledger.parquet",
        selected=unless_released(fake_tables("<results>/select/{shard}.parquet")),
        judged=unless_released(fake_tables("<results>/judge/{shard}.parquet")),
        verdicts=unless_released(
            fake_tables(
                "<results>/liveness/{provider}/{shard}.parquet", provider=PROVIDERS
            )
        ),
        rounds=unless_released(tables_of_rounds),
        sources=unless_released(tables("<results>/crop/source/{shard}.parquet")),
        drivers=unless_released(driver_tables("crop/driver")),
        media=media_of(
            tables("<results>/compress/real/{shard}.parquet"),
            fake_tables("<results>/compress/fake/{shard}.parquet"),
            unless_released(tables("<results>/crop/source/{shard}.parquet")),
            unless_released(driver_tables("crop/driver")),
            unless_released(fake_tables("<results>/animate/{shard}.parquet")),
        ),
    output:
        page=report(
            "<results>/report/gallery.html",
            category="2 Gallery",
            labels={"what": "gallery"},
            caption="../report/gallery.rst",
        ),
    log:
        "<logs>/gallery_page.log",
    benchmark:
        "<benchmarks>/gallery_page.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(800, per_thousand=100),
        runtime=growing(60),
    params:
        notice=CONFIG.report.notice,
        megabytes=CONFIG.report.gallery_mb,
        qualities=list(CONFIG.compress.qualities),
        fps=CONFIG.crop.fps,
        planned=None if RUN_PLAN.released else list(CONFIG.plan.actions),
        code=code_digest("report.gallery_page"),
    script:
        "../scripts/gallery_page.py"
