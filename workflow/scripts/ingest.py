from pathlib import Path

from deepfakemnist.ingest import ingest_shard
from deepfakemnist.workflow import road_of, stage_script

with stage_script(snakemake):
    road = road_of(snakemake)
    ingest_shard(
        rows=road.rows(snakemake.wildcards.role, snakemake.wildcards.shard),
        table=Path(snakemake.output.table),
        code=snakemake.params.code,
        max_failed_fraction=road.config.max_failed_fraction,
    )
