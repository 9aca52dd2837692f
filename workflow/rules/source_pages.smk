"""Report pages on sources and drivers: quality, and pictures of their crops."""


rule source_pages:
    """Report the quality of sources and drivers, pictures of all crops, and a list of missing videos."""
    input:
        ingest_source=tables("<results>/ingest/source/{shard}.parquet"),
        ingest_driver=driver_tables("ingest/driver"),
        crop_source=tables("<results>/crop/source/{shard}.parquet"),
        crop_driver=driver_tables("crop/driver"),
        media=crop_media(),
    output:
        page=report(
            "<results>/report/sources.html",
            category="3 Dataset",
            labels={"what": "sources and drivers"},
            caption="../report/sources.rst",
        ),
        crops=report(
            "<results>/report/crops.html",
            category="3 Dataset",
            labels={"what": "face crops"},
            caption="../report/crops.rst",
        ),
        missing="<results>/sources/missing.tsv",
    log:
        "<logs>/source_pages.log",
    benchmark:
        "<benchmarks>/source_pages.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(800, per_thousand=30),
        runtime=growing(60),
    params:
        refused=lambda wildcards: described(
            "refused", [RUN_PLAN.refused(), RUN_PLAN.left_aside()]
        ),
        notice=CONFIG.report.notice,
        code=code_digest("report.quality_page", "report.crops_page"),
    script:
        "../scripts/source_pages.py"
