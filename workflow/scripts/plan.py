from pathlib import Path

from deepfakemnist.plan import plan_shard
from deepfakemnist.workflow import road_of, stage_script

with stage_script(snakemake):
    plan_shard(
        assignments=road_of(snakemake).assignments(snakemake.wildcards.shard),
        crops=Path(snakemake.input.crops),
        motions=[Path(path) for path in snakemake.input.motions],
        table=Path(snakemake.output.table),
        seed=snakemake.params.seed,
        code=snakemake.params.code,
    )
