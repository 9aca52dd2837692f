"""Evaluation of predictions: on the run's test clips, on other datasets and on perturbed frames."""


rule evaluate:
    """Compute metrics at frame and video level, with intervals clustered by person and driver."""
    input:
        predictions=predictions("predictions"),
        videos="<results>/manifest/videos.parquet",
        crops=unless_released(tables("<results>/crop/source/{shard}.parquet")),
    output:
        metrics="<results>/evaluation/metrics.tsv",
        actions="<results>/evaluation/actions.tsv",
        pairs="<results>/evaluation/pairs.tsv",
        groups="<results>/evaluation/groups.tsv",
        unscored="<results>/evaluation/unscored.tsv",
        calibration="<results>/evaluation/calibration.tsv",
        curves="<results>/evaluation/curves.tsv",
    log:
        "<logs>/evaluate.log",
    benchmark:
        "<benchmarks>/evaluate.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=settings_of("evaluation"),
        code=code_digest(
            "evaluation.stage", "evaluation.groups", "evaluation.calibration"
        ),
    script:
        "../scripts/evaluate.py"


rule evaluate_external:
    """Compute the same metrics on another dataset (on_NAME) or on perturbed frames (perturbed)."""
    input:
        predictions=lambda wildcards: predictions(wildcards.where),
        videos=lambda wildcards: (
            "<results>/manifest/videos.parquet"
            if wildcards.where == "perturbed"
            else f"{DATASETS[wildcards.where.removeprefix('on_')]}/videos.parquet"
        ),
    output:
        metrics="<results>/evaluation/{where}/metrics.tsv",
        actions="<results>/evaluation/{where}/actions.tsv",
        pairs="<results>/evaluation/{where}/pairs.tsv",
        unscored="<results>/evaluation/{where}/unscored.tsv",
    log:
        "<logs>/evaluate_{where}.log",
    benchmark:
        "<benchmarks>/evaluate_{where}.tsv"
    wildcard_constraints:
        where="perturbed|on_[A-Za-z0-9_-]+",
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        settings=settings_of("evaluation"),
        code=code_digest(
            "evaluation.stage", "evaluation.groups", "evaluation.calibration"
        ),
    script:
        "../scripts/evaluate.py"
