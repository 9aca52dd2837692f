"""Sampling rounds until every action meets its quota; with max_rounds 1, the quota table alone."""


# The next round follows from all verdicts of the earlier ones, the last straggler's included: begun before, it would
# depend on which job came first, and no two runs would give the same dataset. What can be saved is the waiting in queues
# in between: like plan and select, these take seconds.
localrules:
    draw_candidates,
    quota,


checkpoint draw_candidates:
    """Sample the candidates that the quotas still need after earlier rounds; an empty table ends the rounds."""
    input:
        plans=tables_of_earlier_rounds("<results>/plan/{shard}.parquet"),
        selected=tables_of_earlier_rounds("<results>/select/{shard}.parquet"),
        rounds=tables_of_rounds,
    output:
        table="<results>/rounds/round{round}.parquet",
    log:
        "<logs>/draw_candidates/{round}.log",
    benchmark:
        "<benchmarks>/draw_candidates/{round}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        pool=lambda wildcards: digest(RUN_PLAN.pool()),
        code=code_digest("planning.rounds"),
    script:
        "../scripts/draw_candidates.py"


rule quota:
    """Report kept fakes and quota per action, and fail on a shortfall if configured."""
    input:
        plans=fake_tables("<results>/plan/{shard}.parquet"),
        selected=fake_tables("<results>/select/{shard}.parquet"),
        rounds=tables_of_rounds,
    output:
        table="<results>/quota/quota.tsv",
        page=report(
            "<results>/report/quota.html",
            category="3 Dataset",
            labels={"what": "quota"},
            caption="../report/quota.rst",
        ),
    log:
        "<logs>/quota.log",
    benchmark:
        "<benchmarks>/quota.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        pool=lambda wildcards: digest(RUN_PLAN.pool()),
        on_shortfall=CONFIG.plan.on_shortfall,
        notice=CONFIG.report.notice,
        code=code_digest("planning.rounds", "report.quota_page"),
    script:
        "../scripts/quota.py"
