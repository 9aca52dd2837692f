"""Encode chain shared by real and fake clips, and frame extraction."""

#: Pairs of published clips are unknown, so they keep their length.
CUT_PAIRS = CONFIG.compress.length == "pair" and not RUN_PLAN.released
COMPRESSION = {**settings_of("compress"), "length": "pair" if CUT_PAIRS else "keep"}


rule compress:
    """Encode every clip of a shard at each quality, real and fake alike."""
    input:
        clips=clips_to_compress,
        media=media_of(clips_to_compress),
        # Pair length: the frame counts of the source and of the drivers planned for it.
        crops=branch(CUT_PAIRS, then=source_crops),
        plans=branch(CUT_PAIRS, then=plans_of_sources),
        rounds=branch(CUT_PAIRS, then=tables_of_rounds),
    output:
        **packed(media="<results>/compress/{kind}/{shard}.tar"),
        table="<results>/compress/{kind}/{shard}.parquet",
    log:
        "<logs>/compress/{kind}/{shard}.log",
    benchmark:
        "<benchmarks>/compress/{kind}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        *key_texts("compress", COMPRESSION),
        settings=unwatched(COMPRESSION),
        fps=CONFIG.crop.fps,
        software=software_of,
        code=code_digest("media.compress", "media.lengths"),
    script:
        "../scripts/compress.py"


rule frames:
    """Extract frames of every clip, the same at every quality, and store them losslessly."""
    input:
        compressed="<results>/compress/{kind}/{shard}.parquet",
        media=media_of("<results>/compress/{kind}/{shard}.parquet"),
    output:
        table="<results>/frames/{kind}/{shard}.parquet",
    log:
        "<logs>/frames/{kind}/{shard}.log",
    benchmark:
        "<benchmarks>/frames/{kind}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        *key_texts("frames", CONFIG.frames),
        settings=unwatched(settings_of("frames")),
        code=code_digest("media.frames", "dataset.face_boxes"),
    script:
        "../scripts/frames.py"
