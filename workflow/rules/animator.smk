"""Weights of the animator: downloaded, or trained on the run's own crops."""

if CONFIG.animator.weights_url:

    rule fetch_animator:
        """Download the animator's weights and check their sha256."""
        output:
            # update: an existing file is checked, not deleted.
            weights=update(CONFIG.animator.weights),
        log:
            "<logs>/fetch_animator.log",
        benchmark:
            "<benchmarks>/fetch_animator.tsv"
        conda:
            "../../envs/torch.yaml"
        resources:
            mem_mb=1000,
            runtime=120,
        script:
            "../scripts/fetch_animator.py"


rule train_animator:
    """Train a First Order Motion Model on the run's crops, for use without official weights."""
    input:
        # Ancient: a re-run crop must not retrain the animator, which would re-render every fake.
        sources=ancient(training_crops("source", SHARDS)),
        drivers=ancient(training_crops("driver", DRIVER_SHARDS)),
    output:
        checkpoint="<results>/animator/checkpoint.safetensors",
        history=report(
            "<results>/animator/training.json",
            category="Animator",
            labels={"what": "training log"},
            caption="../report/animator.rst",
        ),
    log:
        "<logs>/train_animator.log",
    benchmark:
        "<benchmarks>/train_animator.tsv"
    conda:
        "../../envs/torch.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem_mb=16000,
        runtime=1440,
    params:
        settings=settings_of("animator"),
        people=digest(RUN_PLAN.people(CONFIG.animator.train.splits)),
        seed=CONFIG.seed,
        code=code_digest("animate.training.stage"),
    script:
        "../scripts/train_animator.py"
