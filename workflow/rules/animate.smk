"""Plan which source is moved by which driver, and animate it."""


rule train_animator:
    """Train a First Order Motion Model on the run's own crops, for those who have no official weights."""
    input:
        # Ancient: a crop made again does not train the animator again, which would render every fake again.
        sources=ancient(tables("<results>/crop/source/{shard}.parquet")),
        drivers=ancient(
            tables("<results>/crop/driver/{shard}.parquet", shards=DRIVER_SHARDS)
        ),
    output:
        checkpoint="<results>/animator/checkpoint.pth.tar",
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
        code=code_digest("animate.training"),
    script:
        "../scripts/train_animator.py"


rule drive:
    """Compute the keypoints of every driver once; thousands of sources use them."""
    input:
        crops="<results>/crop/driver/{shard}.parquet",
        checkpoint=animator_checkpoint,
    output:
        table="<results>/drive/{shard}.parquet",
    log:
        "<logs>/drive/{shard}.log",
    benchmark:
        "<benchmarks>/drive/{shard}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=GPUS,
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings_of("animator"),
        code=code_digest("animate.stages"),
    script:
        "../scripts/drive.py"


rule plan:
    """Name the candidates of a shard: source, action, driver, split."""
    input:
        crops="<results>/crop/source/{shard}.parquet",
        motions=tables("<results>/drive/{shard}.parquet", shards=DRIVER_SHARDS),
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
        plan="<results>/plan/{shard}.parquet",
        checkpoint=animator_checkpoint,
    output:
        table="<results>/animate/{shard}.parquet",
    log:
        "<logs>/animate/{shard}.log",
    benchmark:
        "<benchmarks>/animate/{shard}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=GPUS,
        mem_mb=6000,
        runtime=480,
    params:
        settings=settings_of("animator"),
        fps=CONFIG.crop.fps,
        code=code_digest("animate.stages"),
    script:
        "../scripts/animate.py"
