from pathlib import Path

from deepfakemnist.plan import plan_shard
from deepfakemnist.rounds import read_draw
from deepfakemnist.workflow import input_path, road_of, stage_script

with stage_script(snakemake):
    drawn = input_path(snakemake, "drawn")
    plan_shard(
        assignments=road_of(snakemake).assignments(snakemake.wildcards.shard, read_draw(drawn) if drawn else None),
        crops=Path(snakemake.input.crops),
        motions=[Path(path) for path in snakemake.input.motions],
        table=Path(snakemake.output.table),
        seed=snakemake.params.seed,
        code=snakemake.params.code,
    )
