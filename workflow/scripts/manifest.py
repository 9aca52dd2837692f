from pathlib import Path

from deepfakemnist.manifest import StageTables, write_manifest
from deepfakemnist.workflow import road_of, stage_script


def paths(name: str) -> list[Path]:
    return [Path(path) for path in snakemake.input[name]]


with stage_script(snakemake):
    road = road_of(snakemake)
    write_manifest(
        StageTables(
            ingest={"source": paths("ingest_source"), "driver": paths("ingest_driver")},
            crop={"source": paths("crop_source"), "driver": paths("crop_driver")},
            drive=paths("drive"),
            plan=paths("plan"),
            animate=paths("animate"),
            select=paths("select"),
            compress={"real": paths("compress_real"), "fake": paths("compress_fake")},
            frames={"real": paths("frames_real"), "fake": paths("frames_fake")},
            enter={"real": paths("enter_real"), "fake": paths("enter_fake")} if road.released else {},
        ),
        out=Path(snakemake.output.videos).parent,
        split_of=road.split_of(),
        refused=road.refused(),
        qualities=snakemake.params.qualities,
        quota=snakemake.params.quota,
        reals=snakemake.params.reals,
        max_failed_fraction=snakemake.params.max_failed_fraction,
        plan=road.config.plan,
        seed=road.config.seed,
        folds=snakemake.params.folds,
    )
