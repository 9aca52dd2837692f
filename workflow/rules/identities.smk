"""Identities: face embeddings of all sources, and the audit of faces and pixels across splits and people."""

#: Real clips of a shard.
REAL_CLIPS = (
    "<results>/import_released/real/{shard}.parquet"
    if RUN_PLAN.released
    else "<results>/crop/source/{shard}.parquet"
)


rule identify:
    """Compute the face embedding of every source of a shard."""
    input:
        clips=REAL_CLIPS,
        media=media_of(REAL_CLIPS),
    output:
        table="<results>/identify/{shard}.parquet",
    log:
        "<logs>/identify/{shard}.log",
    benchmark:
        "<benchmarks>/identify/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(120),
    params:
        code=code_digest("faces.identify"),
    script:
        "../scripts/identify.py"


rule audit_identities:
    """Find one face or equal pixels in two splits or under two person ids, and two faces under one."""
    input:
        identities=tables("<results>/identify/{shard}.parquet"),
        videos="<results>/manifest/videos.parquet",
        accepted=given_file(CONFIG.dataset.identities.accepted),
    output:
        table="<results>/audit/identities.tsv",
        page=report(
            "<results>/report/identities.html",
            category="3 Dataset",
            labels={"what": "identities"},
            caption="../report/identities.rst",
        ),
    log:
        "<logs>/audit_identities.log",
    benchmark:
        "<benchmarks>/audit_identities.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(800, per_thousand=40),
        runtime=growing(120),
    params:
        settings=CONFIG.dataset.identities.model_dump(mode="json"),
        notice=unwatched(CONFIG.report.notice),
        code=code_digest("dataset.identity_audit", "report.identity_page"),
    script:
        "../scripts/audit_identities.py"
