"""Join every table of the run, check it against the disk, and account for everything that did not make it."""


rule manifest:
    """Write videos.parquet, frames.parquet and ledger.parquet."""
    input:
        ingest_source=tables("<results>/ingest/source/{shard}.parquet"),
        ingest_driver=tables(
            "<results>/ingest/driver/{shard}.parquet", shards=DRIVER_SHARDS
        ),
        crop_source=tables("<results>/crop/source/{shard}.parquet"),
        crop_driver=tables(
            "<results>/crop/driver/{shard}.parquet", shards=DRIVER_SHARDS
        ),
        drive=tables("<results>/drive/{shard}.parquet", shards=DRIVER_SHARDS),
        plan=tables("<results>/plan/{shard}.parquet"),
        animate=tables("<results>/animate/{shard}.parquet"),
        select=tables("<results>/select/{shard}.parquet"),
        compress_real=tables("<results>/compress/{kind}/{shard}.parquet", kind="real"),
        compress_fake=tables("<results>/compress/{kind}/{shard}.parquet", kind="fake"),
        frames_real=tables("<results>/frames/{kind}/{shard}.parquet", kind="real"),
        frames_fake=tables("<results>/frames/{kind}/{shard}.parquet", kind="fake"),
    output:
        videos="<results>/manifest/videos.parquet",
        frames="<results>/manifest/frames.parquet",
        ledger="<results>/manifest/ledger.parquet",
        summary="<results>/manifest/summary.json",
    log:
        "<logs>/manifest.log",
    benchmark:
        "<benchmarks>/manifest.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        refused=digest(ROAD.refused()),
        splits=digest(ROAD.split_of()),
        quota=CONFIG.plan.quota,
        qualities=list(CONFIG.compress.qualities),
        max_failed_fraction=CONFIG.max_failed_fraction,
        code=code_digest("manifest"),
    script:
        "../scripts/manifest.py"


rule dataset:
    """The dataset: every video, its frames and the manifest."""
    input:
        rules.manifest.output,
