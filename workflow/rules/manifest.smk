"""Dataset manifest and its check against the files on disk."""


rule manifest:
    """Join the tables of all stages into videos, frames, pairs and ledger."""
    input:
        released_real=branch(
            RUN_PLAN.released,
            then=tables("<results>/import_released/real/{shard}.parquet"),
        ),
        released_fake=branch(
            RUN_PLAN.released,
            then=fake_tables("<results>/import_released/fake/{shard}.parquet"),
        ),
        ingest_source=unless_released(tables("<results>/ingest/source/{shard}.parquet")),
        ingest_driver=tables(
            "<results>/ingest/driver/{shard}.parquet", shards=DRIVER_SHARDS
        ),
        crop_source=unless_released(tables("<results>/crop/source/{shard}.parquet")),
        crop_driver=tables(
            "<results>/crop/driver/{shard}.parquet", shards=DRIVER_SHARDS
        ),
        motions=tables(
            "<results>/extract_motion/{shard}.parquet", shards=RUN_PLAN.motion_shards()
        ),
        plan=unless_released(fake_tables("<results>/plan/{shard}.parquet")),
        animate=unless_released(fake_tables("<results>/animate/{shard}.parquet")),
        select=unless_released(fake_tables("<results>/select/{shard}.parquet")),
        # A shortfall that stops the run must stop it before a dataset is written.
        quota=branch(CONFIG.plan.quota is not None, then="<results>/quota/quota.tsv"),
        compress_real=tables("<results>/compress/{kind}/{shard}.parquet", kind="real"),
        compress_fake=fake_tables("<results>/compress/fake/{shard}.parquet"),
        frames_real=tables("<results>/frames/{kind}/{shard}.parquet", kind="real"),
        frames_fake=fake_tables("<results>/frames/fake/{shard}.parquet"),
        rounds=tables_of_rounds,
        media=encoded_media(),
    output:
        videos="<results>/manifest/videos.parquet",
        frames="<results>/manifest/frames.parquet",
        pairs="<results>/manifest/pairs.parquet",
        ledger="<results>/manifest/ledger.parquet",
        summary="<results>/manifest/summary.json",
    log:
        "<logs>/manifest.log",
    benchmark:
        "<benchmarks>/manifest.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(600, per_thousand=70),
        runtime=growing(120),
    params:
        *key_texts(
            "plan",
            {
                "quota": RUN_PLAN.quotas,
                "reals": CONFIG.plan.reals,
                "drivers": CONFIG.plan.drivers,
            },
        ),
        *key_texts("dataset", {"folds": CONFIG.dataset.folds}),
        refused=lambda wildcards: described("refused", RUN_PLAN.refused()),
        rendered=[
            INPUT_FILES.sha256(one.table)
            for one in rendered_animators(CONFIG.animators)
        ],
        splits=lambda wildcards: described("splits", RUN_PLAN.split_of()),
        quota=unwatched(RUN_PLAN.quotas),
        reals=CONFIG.plan.reals,
        qualities=list(CONFIG.compress.qualities),
        folds=CONFIG.dataset.folds,
        max_failed_fraction=CONFIG.max_failed_fraction,
        code=code_digest("dataset.manifest", "animate.rendered_table"),
    script:
        "../scripts/manifest.py"


rule captions:
    """Collect what the sheet says of the sources and no stage needs, so that an edit re-runs none."""
    output:
        table="<results>/manifest/captions.parquet",
    log:
        "<logs>/captions.log",
    benchmark:
        "<benchmarks>/captions.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        captions=lambda wildcards: described("captions", RUN_PLAN.captions()),
        code=code_digest("dataset.captions"),
    script:
        "../scripts/captions.py"


rule dataset:
    """The dataset: every video, its frames, the manifest and its audits."""
    input:
        rules.manifest.output,
        rules.captions.output,
        rules.audit.output,
        rules.audit_identities.output,
