from pathlib import Path

from deepfakemnist.rounds import read_tried, write_draw
from deepfakemnist.workflow import road_of, stage_script

with stage_script(snakemake):
    road = road_of(snakemake)
    tried = read_tried(snakemake.input.plans, snakemake.input.selected, road.config.plan.quota)
    write_draw(road.draw(tried), Path(snakemake.output.table))
