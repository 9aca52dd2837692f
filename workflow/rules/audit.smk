"""Confound audit: facts of every file and picture, taken in parts, and what they tell of the class."""


rule clip_facts:
    """Take facts of the files and first stills of a part of the videos."""
    input:
        **pictures(),
        videos="<results>/manifest/videos.parquet",
        frames="<results>/manifest/frames.parquet",
        media=encoded_media(),
    output:
        table="<results>/audit/facts/{part}-of-{parts}.parquet",
    log:
        "<logs>/clip_facts/{part}-of-{parts}.log",
    benchmark:
        "<benchmarks>/clip_facts/{part}-of-{parts}.tsv"
    wildcard_constraints:
        part=r"\d+",
        parts=r"\d+",
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(800, per_thousand=4),
        runtime=growing(60),
    params:
        code=code_digest("dataset.clip_facts"),
    script:
        "../scripts/clip_facts.py"


rule audit:
    """Measure how well metadata and simple image statistics separate real from fake."""
    input:
        videos="<results>/manifest/videos.parquet",
        facts=expand("<results>/audit/facts/{part}.parquet", part=RUN_PLAN.fact_parts()),
        media=encoded_media(),
    output:
        table="<results>/audit/audit.tsv",
        page=report(
            "<results>/report/audit.html",
            category="3 Dataset",
            labels={"what": "confound audit"},
            caption="../report/audit.rst",
        ),
    log:
        "<logs>/audit.log",
    benchmark:
        "<benchmarks>/audit.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=by_videos(700, per_thousand=10),
        runtime=lambda wildcards, attempt: attempt
        * (60 + 6 * RUN_PLAN.count("source") // 1000),
    params:
        settings=CONFIG.dataset.audit.model_dump(mode="json"),
        seed=CONFIG.seed,
        notice=unwatched(CONFIG.report.notice),
        code=code_digest("dataset.audit", "report.audit_page"),
    script:
        "../scripts/audit.py"
