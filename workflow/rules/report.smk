"""Pages for snakemake --report: dataset contents and detector metrics."""

if RUN_PLAN.released:
    # Imported clips come without sources, animations and liveness verdicts to report on.
    PAGES_OF_THE_RUN = []
else:
    PAGES_OF_THE_RUN = [
        rules.source_pages.output,
        rules.animation_page.output,
        rules.liveness_page.output,
        branch(
            CONFIG.trained_animator is not None,
            then="<results>/report/animator.html",
        ),
    ]


rule dataset_pages:
    """Pages on contents and ledger."""
    input:
        videos="<results>/manifest/videos.parquet",
        ledger="<results>/manifest/ledger.parquet",
        summary="<results>/manifest/summary.json",
        quota=branch(CONFIG.plan.quota is not None, then="<results>/quota/quota.tsv"),
    output:
        summary=report(
            "<results>/report/dataset.html",
            category="3 Dataset",
            labels={"what": "contents"},
            caption="../report/dataset.rst",
        ),
        ledger=report(
            "<results>/report/ledger.html",
            category="3 Dataset",
            labels={"what": "ledger"},
            caption="../report/ledger.rst",
        ),
    log:
        "<logs>/dataset_pages.log",
    benchmark:
        "<benchmarks>/dataset_pages.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=by_videos(500, per_thousand=30),
        runtime=growing(60),
    params:
        notice=CONFIG.report.notice,
        code=code_digest("report.dataset_page", "report.ledger_page"),
    script:
        "../scripts/dataset_pages.py"


rule metrics_pages:
    """Detector metrics next to the paper's, as charts and tables."""
    input:
        metrics="<results>/evaluation/metrics.tsv",
        actions="<results>/evaluation/actions.tsv",
        pairs="<results>/evaluation/pairs.tsv",
        groups="<results>/evaluation/groups.tsv",
        unscored="<results>/evaluation/unscored.tsv",
        calibration="<results>/evaluation/calibration.tsv",
        curves="<results>/evaluation/curves.tsv",
        histories=expand(
            "<results>/detectors/{detector}/{trained_on}/seed{seed}/history.tsv",
            detector=DETECTORS,
            trained_on=TRAINING_SETS,
            seed=CONFIG.training.seeds,
        ),
        others=[
            f"<results>/evaluation/{where}/metrics.tsv"
            for where in (
                *(f"on_{name}" for name in CONFIG.evaluation.datasets),
                *(["perturbed"] if CONFIG.evaluation.robustness else []),
            )
        ],
    output:
        table=report(
            "<results>/report/metrics.html",
            category="5 Detectors",
            labels={"what": "metrics"},
            caption="../report/metrics.rst",
        ),
        actions=report(
            "<results>/report/actions.html",
            category="5 Detectors",
            labels={"what": "per action"},
            caption="../report/actions.rst",
        ),
        protocols=report(
            "<results>/report/protocols.html",
            category="5 Detectors",
            labels={"what": "protocols"},
            caption="../report/protocols.rst",
        ),
    log:
        "<logs>/metrics_pages.log",
    benchmark:
        "<benchmarks>/metrics_pages.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        protocols=CONFIG.evaluation.protocols,
        published_split=RUN_PLAN.released,
        notice=CONFIG.report.notice,
        code=code_digest(
            "report.metrics_page",
            "report.actions_page",
            "report.detector_pages",
        ),
    script:
        "../scripts/metrics_pages.py"


#: Pages that the front page leads to.
REPORT_PAGES = [
    rules.dataset_pages.output,
    rules.gallery_page.output,
    rules.audit.output.page,
    rules.audit_identities.output.page,
    PAGES_OF_THE_RUN,
    branch(CONFIG.plan.quota is not None, then="<results>/report/quota.html"),
    rules.metrics_pages.output,
]


rule report:
    """All pages of snakemake --report, and the dataset behind them."""
    input:
        rules.dataset.input,
        REPORT_PAGES,
        "<results>/report/overview.html",
