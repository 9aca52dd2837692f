"""Front page of the report and cost of the run; last of all jobs, because they tell of all others."""

#: GPUs that each job of a stage requests; of animators, those that may use one.
GPUS_OF_STAGES = {
    "train_animator": GPUS
    * max(
        (
            one.train.gpus
            for one in ANIMATORS.values()
            if getattr(one, "needs_training", False)
        ),
        default=0,
    ),
    **dict.fromkeys(
        ("extract_motion", "animate", "reenact"),
        GPUS * any(one.may_use_gpu for one in ANIMATORS.values()),
    ),
    "train": GPUS * CONFIG.training.gpus,
    **dict.fromkeys(("predict", "predict_dataset", "predict_perturbed"), GPUS),
}


rule overview:
    """What the run made, what to be wary of, its best and worst detector, and what it cost."""
    input:
        videos="<results>/manifest/videos.parquet",
        ledger="<results>/manifest/ledger.parquet",
        audit="<results>/audit/audit.tsv",
        identities="<results>/audit/identities.tsv",
        metrics="<results>/evaluation/metrics.tsv",
        quota=branch(CONFIG.plan.quota is not None, then=["<results>/quota/quota.tsv"]),
        verdicts=unless_released(
            fake_tables(
                "<results>/liveness/{provider}/{shard}.parquet", provider=PROVIDERS
            )
        ),
        rounds=tables_of_rounds,
        pages=[*REPORT_PAGES],
    output:
        overview=report(
            "<results>/report/overview.html",
            category="1 Overview",
            labels={"what": "the run"},
            caption="../report/overview.rst",
        ),
    log:
        "<logs>/overview.log",
    benchmark:
        "<benchmarks>/overview.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(600, per_thousand=2),
        runtime=growing(60),
    params:
        notice=CONFIG.report.notice,
        released=RUN_PLAN.released,
        actions=CONFIG.plan.actions,
        simulated=[
            name
            for name, provider in PROVIDERS.items()
            if str(getattr(provider, "base_url", "")).startswith("http://")
        ],
        has_vendors=any(
            hasattr(provider, "base_url") for provider in PROVIDERS.values()
        ),
        gpus=unwatched(GPUS_OF_STAGES),
        config=unwatched(CONFIG.model_dump(mode="json")),
        results=lambda wildcards, input: str(Path(input.videos).parents[1]),
        benchmarks=f"{RESULTS}/benchmarks",
        # Those of the time at which the page was made; another value alone makes no page again.
        run=unwatched(
            {
                "seed": CONFIG.seed,
                "config, sha256": digest(CONFIG.model_dump(mode="json")),
                "animators": describe_animators(CONFIG.animators).splitlines(),
                "detectors": sorted(DETECTORS),
            }
        ),
        code=code_digest("report.overview_page"),
    script:
        "../scripts/overview.py"
