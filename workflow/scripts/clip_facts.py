from pathlib import Path

from deepfakemnist.dataset.clip_facts import write_clip_facts
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    write_clip_facts(
        videos=Path(snakemake.input.videos),
        frames=Path(snakemake.input.frames),
        table=Path(snakemake.output.table),
        part=int(snakemake.wildcards.part) - 1,
        parts=int(snakemake.wildcards.parts),
    )
