"""Training of detectors on every training set, and their predictions at every quality."""

from deepfakemnist.config.preparation import Preparation

DETECTORS = {detector.slug: detector for detector in CONFIG.training.detectors}
DATASETS = CONFIG.evaluation.datasets
TRAINING_SETS = CONFIG.training_sets


rule train:
    """Train one detector on one training set with one seed; the best epoch is selected on val, never on test."""
    input:
        **pictures(),
        frames="<results>/manifest/frames.parquet",
        videos="<results>/manifest/videos.parquet",
        imagenet=imagenet_file,
    output:
        checkpoint="<results>/detectors/{detector}/{trained_on}/seed{seed}/checkpoint.safetensors",
        history="<results>/detectors/{detector}/{trained_on}/seed{seed}/history.tsv",
        card="<results>/detectors/{detector}/{trained_on}/seed{seed}/card.md",
    log:
        "<logs>/train/{detector}/{trained_on}/seed{seed}.log",
    benchmark:
        "<benchmarks>/train/{detector}/{trained_on}/seed{seed}.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4 * CONFIG.training.gpus
    resources:
        gpu=GPUS * CONFIG.training.gpus,
        mem_mb=growing(16000),
        runtime=growing(1440),
    params:
        settings=lambda wildcards: DETECTORS[wildcards.detector].model_dump(mode="json"),
        preparation=Preparation.of(CONFIG).model_dump(mode="json"),
        tensorboard=CONFIG.training.tensorboard,
        gpus=CONFIG.training.gpus,
        code=detector_code("training.loop"),
    script:
        "../scripts/train.py"


rule predict:
    """Score every val and test frame at every quality."""
    input:
        **pictures(),
        checkpoint="<results>/detectors/{detector}/{trained_on}/seed{seed}/checkpoint.safetensors",
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
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        code=detector_code("training.predict"),
    script:
        "../scripts/predict.py"


rule predict_dataset:
    """Score the manifest of another dataset: a run with another animator, or an imported dataset."""
    input:
        **pictures(),
        checkpoint="<results>/detectors/{detector}/{trained_on}/seed{seed}/checkpoint.safetensors",
        frames=lambda wildcards: f"{DATASETS[wildcards.dataset]}/frames.parquet",
        videos=lambda wildcards: f"{DATASETS[wildcards.dataset]}/videos.parquet",
        trained_videos="<results>/manifest/videos.parquet",
    output:
        table="<results>/detectors/{detector}/{trained_on}/seed{seed}/on_{dataset}.parquet",
    log:
        "<logs>/predict/{detector}/{trained_on}/seed{seed}_on_{dataset}.log",
    benchmark:
        "<benchmarks>/predict/{detector}/{trained_on}/seed{seed}_on_{dataset}.tsv"
    wildcard_constraints:
        dataset="[A-Za-z0-9_-]+",
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        dataset=lambda wildcards: [
            INPUT_FILES.sha256(f"{DATASETS[wildcards.dataset]}/{name}.parquet")
            for name in ("frames", "videos")
        ],
        code=detector_code("training.predict"),
    script:
        "../scripts/predict.py"


rule predict_perturbed:
    """Score test frames perturbed by JPEG, resizing, blur, noise and another H.264 encode, at five levels each."""
    input:
        **pictures(),
        checkpoint="<results>/detectors/{detector}/{trained_on}/seed{seed}/checkpoint.safetensors",
        frames="<results>/manifest/frames.parquet",
        videos="<results>/manifest/videos.parquet",
    output:
        table="<results>/detectors/{detector}/{trained_on}/seed{seed}/perturbed.parquet",
    log:
        "<logs>/predict/{detector}/{trained_on}/seed{seed}_perturbed.log",
    benchmark:
        "<benchmarks>/predict/{detector}/{trained_on}/seed{seed}_perturbed.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=growing(8000),
        runtime=growing(480),
    params:
        quality=list(CONFIG.compress.qualities)[0],
        kinds=list(CONFIG.evaluation.robustness),
        code=detector_code("training.robustness"),
    script:
        "../scripts/predict_perturbed.py"


rule detectors:
    """Collect the predictions of every trained detector."""
    input:
        predictions("predictions", TRAINING_SETS),
