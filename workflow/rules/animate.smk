"""Plan which source is moved by which driver, and animate it: a shard to a job, or several, see batches.smk."""

if CONFIG.animator.weights_url:

    rule fetch_animator:
        """Download the animator's weights and check their sha256."""
        output:
            # update: what lies there already is checked, not deleted.
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
    """Train a First Order Motion Model on the run's own crops, for those who have no official weights."""
    input:
        # Ancient: a crop made again does not train the animator again, which would render every fake again.
        sources=ancient(training_crops("source", SHARDS)),
        drivers=ancient(training_crops("driver", DRIVER_SHARDS)),
    output:
        checkpoint="<results>/animator/checkpoint.safetensors",
        history=report(
            "<results>/animator/training.json",
            category="Animator",
            labels={"what": "training record"},
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


rule extract_motion:
    """Compute the keypoints of every driver once; thousands of sources use them."""
    input:
        crops=crops_to_drive,
        weights=animator_weights,
    output:
        table=f"<results>/{GPU_FOLDER}extract_motion/{JOB}.parquet",
    log:
        f"<logs>/extract_motion/{JOB}.log",
    benchmark:
        f"<benchmarks>/extract_motion/{JOB}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("animator"),
        code=animator_code(),
    script:
        "../scripts/extract_motion.py"


rule plan:
    """Name the candidates of a shard: source, action, driver, split."""
    input:
        crops=source_crops,
        motions=tables("<results>/extract_motion/{shard}.parquet", shards=DRIVER_SHARDS),
        drawn=drawn_in_the_round,
    output:
        table="<results>/plan/{shard}.parquet",
    log:
        "<logs>/plan/{shard}.log",
    benchmark:
        "<benchmarks>/plan/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        assignments=lambda wildcards: digest(RUN_PLAN.assignments(wildcards.shard)),
        seed=CONFIG.seed,
        code=code_digest("planning.assignment"),
    script:
        "../scripts/plan.py"


rule animate:
    """Move the face of every candidate's source with the motion of its driver."""
    input:
        plans=plans_to_animate,
        weights=animator_weights,
    output:
        table=f"<results>/{GPU_FOLDER}animate/{JOB}.parquet",
    log:
        f"<logs>/animate/{JOB}.log",
    benchmark:
        f"<benchmarks>/animate/{JOB}.tsv"
    conda:
        "../../envs/torch.yaml"
    # A GPU renders faster than one core encodes; without one, jobs side by side keep the cores busy.
    threads: 8 if GPUS else 1
    resources:
        gpu=GPUS,
        mem_mb=8000,
        runtime=480,
    params:
        settings=settings_of("animator"),
        fps=CONFIG.crop.fps,
        code=animator_code(),
    script:
        "../scripts/animate.py"


if CLIPS_PER_JOB:

    # They take a second; a cluster takes longer to start one.
    localrules:
        extract_motion_shard,
        animate_shard,

    rule extract_motion_shard:
        """Take the drivers of a shard out of the table of their job."""
        input:
            rows="<results>/crop/driver/{shard}.parquet",
            # Not ancient, though one shard made anew then takes those of its job along: Snakemake looks at no setting of
            # what lies behind an ancient input of a job that runs, and results of two settings would stand side by side.
            job=motion_job,
        output:
            table="<results>/extract_motion/{shard}.parquet",
        log:
            "<logs>/extract_motion_shard/{shard}.log",
        benchmark:
            "<benchmarks>/extract_motion_shard/{shard}.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            code=code_digest("animate.batches"),
        script:
            "../scripts/rows_of_shard.py"

    rule animate_shard:
        """Take the fakes of a shard out of the table of their job."""
        input:
            rows="<results>/plan/{shard}.parquet",
            job=animated,
        output:
            table="<results>/animate/{shard}.parquet",
        log:
            "<logs>/animate_shard/{shard}.log",
        benchmark:
            "<benchmarks>/animate_shard/{shard}.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            code=code_digest("animate.batches"),
        script:
            "../scripts/rows_of_shard.py"
