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
        people=digest(ROAD.people(CONFIG.animator.train.splits)),
        seed=CONFIG.seed,
        code=code_digest("animate.train_stage"),
    script:
        "../scripts/train_animator.py"


rule drive:
    """Compute the keypoints of every driver once; thousands of sources use them."""
    input:
        crops=crops_to_drive,
        weights=animator_weights,
    output:
        table=f"<results>/{GPU_FOLDER}drive/{JOB}.parquet",
    log:
        f"<logs>/drive/{JOB}.log",
    benchmark:
        f"<benchmarks>/drive/{JOB}.tsv"
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
        "../scripts/drive.py"


rule plan:
    """Name the candidates of a shard: source, action, driver, split."""
    input:
        crops=source_crops,
        motions=tables("<results>/drive/{shard}.parquet", shards=DRIVER_SHARDS),
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
        assignments=lambda wildcards: digest(ROAD.assignments(wildcards.shard)),
        seed=CONFIG.seed,
        code=code_digest("plan"),
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
        drive_shard,
        animate_shard,

    rule drive_shard:
        """Take the drivers of a shard out of the table of their job."""
        input:
            rows="<results>/crop/driver/{shard}.parquet",
            # Not ancient, though one shard made anew then takes those of its job along: Snakemake looks at no setting of
            # what lies behind an ancient input of a job that runs, and results of two settings would stand side by side.
            job=driven,
        output:
            table="<results>/drive/{shard}.parquet",
        log:
            "<logs>/drive_shard/{shard}.log",
        benchmark:
            "<benchmarks>/drive_shard/{shard}.tsv"
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
