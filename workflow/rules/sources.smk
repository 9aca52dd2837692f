"""Sources and drivers: what the files are, and one square clip of one face from each."""


rule ingest:
    """Probe every video of a shard: container, codec, size, rate, rotation, and whether it decodes to its end."""
    input:
        lambda wildcards: ROAD.files(wildcards.role, wildcards.shard),
    output:
        table="<results>/ingest/{role}/{shard}.parquet",
    log:
        "<logs>/ingest/{role}/{shard}.log",
    benchmark:
        "<benchmarks>/ingest/{role}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        rows=lambda wildcards: digest(ROAD.rows(wildcards.role, wildcards.shard)),
        code=code_digest("ingest"),
    script:
        "../scripts/ingest.py"


rule crop:
    """Track the face of every video of a shard and cut one square clip of it."""
    input:
        ingested="<results>/ingest/{role}/{shard}.parquet",
    output:
        table="<results>/crop/{role}/{shard}.parquet",
    log:
        "<logs>/crop/{role}/{shard}.log",
    benchmark:
        "<benchmarks>/crop/{role}/{shard}.tsv"
    conda:
        "../../envs/media.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        settings=settings_of("crop"),
        code=code_digest("faces.crop"),
    script:
        "../scripts/crop.py"
