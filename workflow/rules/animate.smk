"""Motion extraction, planning and animation; one or more shards per job, see batches.smk."""


localrules:
    plan,


rule extract_motion:
    """Extract the motion of every driver once, for use by thousands of sources."""
    input:
        crops=driver_crops,
        media=media_of(driver_crops),
        weights=animator_weights,
    output:
        **packed(media=f"<results>/{GPU_FOLDER}extract_motion/{JOB}.tar"),
        table=f"<results>/{GPU_FOLDER}extract_motion/{JOB}.parquet",
    log:
        f"<logs>/extract_motion/{JOB}.log",
    benchmark:
        f"<benchmarks>/extract_motion/{JOB}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=animator_gpus,
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        *animation_texts("source_frame"),
        settings=animator_settings,
        weights=weights_version,
        code=animator_code("animate.stages"),
    script:
        "../scripts/extract_motion.py"


rule plan:
    """Plan the candidates of a shard: source, action, driver, split."""
    input:
        crops=source_crops,
        motions=motion_tables,
        candidates=candidates_of_round,
    output:
        table="<results>/plan/{shard}.parquet",
    log:
        "<logs>/plan/{shard}.log",
    benchmark:
        "<benchmarks>/plan/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        assignments=lambda wildcards: RUN_PLAN.candidates_text(wildcards.shard),
        drivers=lambda wildcards: described(
            "plan.drivers", RUN_PLAN.driver_splits() or "shared"
        ),
        seed=CONFIG.seed,
        code=code_digest("planning.assignment"),
    script:
        "../scripts/plan.py"


rule animate:
    """Animate the source of every candidate with the motion of its driver."""
    input:
        plans=plans_to_animate,
        candidates=candidates_of_round,
        media=media_of(crops_to_animate, motion_tables),
        weights=animator_weights,
    output:
        **packed(media=f"<results>/{GPU_FOLDER}animate/{JOB}.tar"),
        table=f"<results>/{GPU_FOLDER}animate/{JOB}.parquet",
    log:
        f"<logs>/animate/{JOB}.log",
    benchmark:
        f"<benchmarks>/animate/{JOB}.tsv"
    conda:
        "../../envs/torch.yaml"
    # A GPU renders faster than one core encodes; without a GPU, parallel jobs keep the cores busy.
    threads: lambda wildcards: 8 if animator_gpus(wildcards) else 1
    resources:
        gpu=animator_gpus,
        mem_mb=growing(8000),
        runtime=growing(480),
    params:
        *animation_texts(),
        settings=animator_settings,
        weights=weights_version,
        fps=CONFIG.crop.fps,
        clips=rendered_version,
        code=animator_code("animate.stages"),
    script:
        "../scripts/animate.py"


if CLIPS_PER_JOB:

    # They take a second each, less than the submission of a cluster job.
    localrules:
        extract_motion_shard,
        animate_shard,

    rule extract_motion_shard:
        """Extract the drivers of a shard from their batch table."""
        input:
            rows=driver_crop,
            # Not ancient, although re-running one shard then re-runs all shards of its batch: Snakemake ignores changed
            # settings upstream of an ancient input, which would mix results of different settings.
            job=motion_job_table,
        output:
            table="<results>/extract_motion/{shard}.parquet",
        log:
            "<logs>/extract_motion_shard/{shard}.log",
        benchmark:
            "<benchmarks>/extract_motion_shard/{shard}.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            code=code_digest("animate.batches"),
        script:
            "../scripts/rows_of_shard.py"

    rule animate_shard:
        """Extract the fakes of a shard from their batch table."""
        input:
            rows="<results>/plan/{shard}.parquet",
            job=animate_job_table,
            candidates=candidates_of_round,
        output:
            table="<results>/animate/{shard}.parquet",
        log:
            "<logs>/animate_shard/{shard}.log",
        benchmark:
            "<benchmarks>/animate_shard/{shard}.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            code=code_digest("animate.batches"),
        script:
            "../scripts/rows_of_shard.py"
