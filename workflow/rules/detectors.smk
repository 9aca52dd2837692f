"""Train detectors on each quality, let them judge every quality, and turn their predictions into numbers."""

DETECTORS = {detector.name: detector for detector in CONFIG.training.detectors}


rule train:
    """Train one detector on one quality with one seed; the best epoch is chosen on val, never on test."""
    input:
        frames="<results>/manifest/frames.parquet",
        videos="<results>/manifest/videos.parquet",
    output:
        checkpoint="<results>/detectors/{detector}/{trained_on}/seed{seed}/checkpoint.pt",
        history="<results>/detectors/{detector}/{trained_on}/seed{seed}/history.tsv",
    log:
        "<logs>/train/{detector}/{trained_on}/seed{seed}.log",
    benchmark:
        "<benchmarks>/train/{detector}/{trained_on}/seed{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=16000,
        runtime=1440,
    params:
        settings=lambda wildcards: DETECTORS[wildcards.detector].model_dump(mode="json"),
        code=code_digest("training.loop"),
    script:
        "../scripts/train.py"


rule predict:
    """Score every val and test frame of every quality."""
    input:
        checkpoint="<results>/detectors/{detector}/{trained_on}/seed{seed}/checkpoint.pt",
        frames="<results>/manifest/frames.parquet",
        videos="<results>/manifest/videos.parquet",
    output:
        table="<results>/detectors/{detector}/{trained_on}/seed{seed}/predictions.parquet",
    log:
        "<logs>/predict/{detector}/{trained_on}/seed{seed}.log",
    benchmark:
        "<benchmarks>/predict/{detector}/{trained_on}/seed{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=8000,
        runtime=240,
    params:
        code=code_digest("training.predict"),
    script:
        "../scripts/predict.py"


PREDICTIONS = expand(
    "<results>/detectors/{detector}/{trained_on}/seed{seed}/predictions.parquet",
    detector=DETECTORS,
    trained_on=CONFIG.training.trained_on,
    seed=CONFIG.training.seeds,
)


rule detectors:
    """Every trained detector with its predictions."""
    input:
        PREDICTIONS,


rule evaluate:
    """Accuracy, AUC and the rest at frame and video level, with intervals that respect people."""
    input:
        predictions=PREDICTIONS,
    output:
        metrics="<results>/evaluation/metrics.tsv",
        actions="<results>/evaluation/actions.tsv",
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
        seed=CONFIG.seed,
        code=code_digest("evaluation.stage"),
    script:
        "../scripts/evaluate.py"
