"""Sources and drivers: ingest, face crops and source selection."""


rule ingest:
    """Probe every video of a shard: container, codec, size, frame rate, rotation, and complete decoding."""
    input:
        [] if PACKED else videos_of_shard,
        media=packed_videos,
    output:
        table="<results>/ingest/{role}/{shard}.parquet",
    log:
        "<logs>/ingest/{role}/{shard}.log",
    benchmark:
        "<benchmarks>/ingest/{role}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        # What Python, Arrow and FFmpeg take besides decoding.
        mem_mb=growing(CONFIG.sources.limits.memory_mb + 400),
        runtime=growing(60),
    params:
        *key_texts("sources.limits", CONFIG.sources.limits),
        **packed(videos=video_paths),
        rows=lambda wildcards: RUN_PLAN.rows_text(wildcards.role, wildcards.shard),
        files=versions_of_shard,
        code=code_digest("media.ingest", "sources.voxceleb1"),
    script:
        "../scripts/ingest.py"


rule crop:
    """Track the face in every video of a shard and crop one square clip of it."""
    input:
        ingested="<results>/ingest/{role}/{shard}.parquet",
        media=packed_videos,
    output:
        **packed(media=f"<results>/{CROPS}/{{role}}/{{shard}}.tar"),
        table=f"<results>/{CROPS}/{{role}}/{{shard}}.parquet",
    log:
        "<logs>/crop/{role}/{shard}.log",
    benchmark:
        "<benchmarks>/crop/{role}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        # 2.6 GB with a video of 8K (H.264), which ingest lets pass; 0.8 GB with 4K.
        mem_mb=growing(CONFIG.sources.limits.memory_mb + 1400),
        runtime=growing(240),
    params:
        *key_texts("crop", CONFIG.crop),
        **packed(videos=video_paths),
        settings=unwatched(settings_of("crop")),
        used_frames=used_frames,
        code=code_digest("faces.crop"),
    script:
        "../scripts/crop.py"


if CONFIG.sources.select:

    localrules:
        apply_selection,

    rule choose_sources:
        """Select sources among all crops, balanced over people, length and face size, without duplicates."""
        input:
            crops=tables("<results>/candidates/source/{shard}.parquet"),
        output:
            table="<results>/sources/choice.parquet",
        log:
            "<logs>/choose_sources.log",
        benchmark:
            "<benchmarks>/choose_sources.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=growing(4000),
            runtime=growing(30),
        params:
            settings=CONFIG.sources.select.model_dump(mode="json"),
            seed=CONFIG.seed,
            code=code_digest("sources.selection"),
        script:
            "../scripts/choose_sources.py"

    rule apply_selection:
        """Mark unselected sources in the crop table of a shard; drivers are all kept."""
        input:
            crops="<results>/candidates/{role}/{shard}.parquet",
            choice=lambda wildcards: (
                "<results>/sources/choice.parquet"
                if wildcards.role == "source"
                else []
            ),
        output:
            table="<results>/crop/{role}/{shard}.parquet",
        log:
            "<logs>/apply_selection/{role}/{shard}.log",
        benchmark:
            "<benchmarks>/apply_selection/{role}/{shard}.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(10),
        params:
            code=code_digest("sources.selection"),
        script:
            "../scripts/apply_selection.py"
