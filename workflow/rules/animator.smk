"""Weights of animators: downloaded, or trained on the run's own crops."""

import re

from deepfakemnist.workflow.animator_training import AnimatorTraining

ANIMATOR_TRAINING = AnimatorTraining(RUN_PLAN, INPUT_FILES)
if CHECK_FILES and CONFIG.trained_animator is not None:
    for name in ("clips.json", "checkpoint.safetensors", "training.json"):
        BUCKET.fetch(Path(f"{RESULTS}/animator/{name}"))


for animator in CONFIG.animators:
    if getattr(animator, "weights_url", None) is None:
        continue

    rule:
        name:
            (
                "fetch_animator"
                if len(CONFIG.animators) == 1
                else f"fetch_animator_{re.sub('[^A-Za-z0-9]', '_', animator.named)}"
            )
        output:
            # update: an existing file is checked, not deleted.
            weights=update(animator.weight_file),
        log:
            f"<logs>/fetch_animator/{animator.named}.log",
        benchmark:
            f"<benchmarks>/fetch_animator/{animator.named}.tsv"
        # Missing weights are noticed before anything else is made.
        priority: 100
        # Nodes of a cluster may have no internet.
        localrule: True
        conda:
            "../../envs/torch.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(120),
        params:
            # The URL is no reason to fetch the same file again.
            weights=unwatched(
                animator.model_dump(
                    mode="json",
                    include={"weights", "weights_sha256", "weights_url"},
                )
            ),
        script:
            "../scripts/fetch_animator.py"


# A trained animator is kept when crops are made again, so nothing connects it with the crops any more. As ancient
# inputs they would hide changed settings from Snakemake, which checks nothing behind a job that will run.
if not (CHECK_FILES and ANIMATOR_TRAINING.is_finished(Path(RESULTS))):

    localrules:
        training_clips,

    rule training_clips:
        """Choose the clips that the animator is trained on."""
        input:
            sources=training_crops("source", SHARDS),
            drivers=training_crops("driver", DRIVER_SHARDS),
        output:
            clips="<results>/animator/clips.json",
        log:
            "<logs>/training_clips.log",
        benchmark:
            "<benchmarks>/training_clips.tsv"
        conda:
            "../../envs/torch.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(30),
        params:
            settings=lambda wildcards: ANIMATOR_TRAINING.settings,
            people=lambda wildcards: digest(ANIMATOR_TRAINING.people()),
        script:
            "../scripts/training_clips.py"


rule train_animator:
    """Train a First Order Motion Model on the run's crops, for use without official weights."""
    input:
        clips="<results>/animator/clips.json",
        media=crop_media(),
    output:
        checkpoint="<results>/animator/checkpoint.safetensors",
        history="<results>/animator/training.json",
    log:
        "<logs>/train_animator.log",
    benchmark:
        "<benchmarks>/train_animator.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8 * ANIMATOR_TRAINING.gpus
    resources:
        gpu=GPUS * ANIMATOR_TRAINING.gpus,
        mem_mb=growing(16000),
        runtime=growing(1440),
    params:
        settings=lambda wildcards: ANIMATOR_TRAINING.settings,
    script:
        "../scripts/train_animator.py"


rule animator_page:
    """Report page on the training of the animator."""
    input:
        history="<results>/animator/training.json",
    output:
        page=report(
            "<results>/report/animator.html",
            category="6 Animator",
            labels={"what": "training of the animator"},
            caption="../report/animator.rst",
        ),
    log:
        "<logs>/animator_page.log",
    benchmark:
        "<benchmarks>/animator_page.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(500),
        runtime=growing(10),
    params:
        notice=CONFIG.report.notice,
        code=code_digest("report.animator_page"),
    script:
        "../scripts/animator_page.py"
