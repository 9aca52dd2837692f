from pathlib import Path

from deepfakemnist.dataset.enter import enter_shard
from deepfakemnist.sources.released import KINDS
from deepfakemnist.workflow import road_of, stage_script

with stage_script(snakemake):
    road = road_of(snakemake)
    enter_shard(
        rows=road.rows(KINDS[snakemake.wildcards.kind], snakemake.wildcards.shard),
        table=Path(snakemake.output.table),
        fps=snakemake.params.fps,
        code=snakemake.params.code,
        max_failed_fraction=road.config.max_failed_fraction,
    )
