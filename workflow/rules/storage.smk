"""Rules of runs with packed media: what only the machine that plans the run has."""

if PACKED:

    localrules:
        pack_videos,
        bring_weights,
        write_release,

    rule pack_videos:
        """Pack the videos of a shard, for jobs on machines that have none of them."""
        input:
            lambda wildcards: [
                local(path) for path in RUN_PLAN.files(wildcards.role, wildcards.shard)
            ],
        output:
            media="<results>/videos/{role}/{shard}.tar",
        log:
            "<logs>/pack_videos/{role}/{shard}.log",
        benchmark:
            "<benchmarks>/pack_videos/{role}/{shard}.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(60),
        params:
            files=versions_of_shard,
        script:
            "../scripts/pack_videos.py"

    GIVEN_WEIGHTS = {one.named: one for one in CONFIG.animators}

    rule bring_weights:
        """Copy weights that the config names, for jobs on machines that have none of them."""
        input:
            weights=lambda wildcards: given_file(
                GIVEN_WEIGHTS[wildcards.animator].weight_file
            ),
        output:
            weights="<results>/animator/given/{animator}/{name}",
        log:
            "<logs>/bring_weights/{animator}/{name}.log",
        benchmark:
            "<benchmarks>/bring_weights/{animator}/{name}.tsv"
        conda:
            "../../envs/media.yaml"
        resources:
            mem_mb=growing(1000),
            runtime=growing(30),
        params:
            sha256=lambda wildcards: INPUT_FILES.sha256(
                GIVEN_WEIGHTS[wildcards.animator].weight_file
            ),
        script:
            "../scripts/bring_weights.py"
