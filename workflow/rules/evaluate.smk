"""Evaluation of predictions: on the run's test clips, on other datasets and on perturbed frames."""

from deepfakemnist.config.training_sets import with_pooled_folds

#: Training sets of the results → those whose predictions they need: themselves, or the folds of a cross-validation.
MEASURED_SETS = with_pooled_folds(TRAINING_SETS)
MEASURED = "<results>/evaluation/measured/{where}/{trained_on}.parquet"


rule measure:
    """Compute the metrics of every detector and seed of one training set, with intervals, and compare the detectors."""
    input:
        predictions=lambda wildcards: predictions(
            wildcards.where, MEASURED_SETS[wildcards.trained_on]
        ),
        videos=lambda wildcards: (
            f"{DATASETS[wildcards.where.removeprefix('on_')]}/videos.parquet"
            if wildcards.where.startswith("on_")
            else "<results>/manifest/videos.parquet"
        ),
        crops=branch(
            lambda wildcards: wildcards.where == "predictions",
            then=unless_released(tables("<results>/crop/source/{shard}.parquet")),
        ),
    output:
        table=MEASURED,
    log:
        "<logs>/measure/{where}/{trained_on}.log",
    benchmark:
        "<benchmarks>/measure/{where}/{trained_on}.tsv"
    wildcard_constraints:
        where="predictions|perturbed|on_[A-Za-z0-9_-]+",
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=by_videos(900, per_thousand=30),
        runtime=lambda wildcards, input, attempt: attempt
        * (15 + len(input.predictions)),
    params:
        top_k=CONFIG.evaluation.top_k,
        calibration_bins=CONFIG.evaluation.calibration_bins,
        code=code_digest("evaluation.training_set", "evaluation.measured"),
    script:
        "../scripts/measure.py"


rule evaluate:
    """Join the measures of all training sets into tables, and adjust the p-values of the comparisons."""
    input:
        measured=expand(MEASURED, where="predictions", trained_on=MEASURED_SETS),
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
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_digest("evaluation.stage"),
    script:
        "../scripts/evaluate.py"


rule evaluate_external:
    """Join the measures on another dataset (on_NAME) or on perturbed frames (perturbed)."""
    input:
        # Folds score the same clips there, so there is nothing to pool.
        measured=expand(MEASURED, trained_on=TRAINING_SETS, allow_missing=True),
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
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_digest("evaluation.stage"),
    script:
        "../scripts/evaluate.py"
