from pathlib import Path

from deepfakemnist.animate.rendered_table import surplus_clips
from deepfakemnist.dataset.manifest import StageTables, write_manifest
from deepfakemnist.tables.files import read_rows
from deepfakemnist.workflow.script import run_plan_of, stage_script


def paths(name: str) -> list[Path]:
    return [Path(path) for path in snakemake.input[name]]


with stage_script(snakemake):
    run_plan = run_plan_of(snakemake)
    write_manifest(
        StageTables(
            ingest={"source": paths("ingest_source"), "driver": paths("ingest_driver")},
            crop={"source": paths("crop_source"), "driver": paths("crop_driver")},
            extract_motion=paths("motions"),
            plan=paths("plan"),
            animate=paths("animate"),
            select=paths("select"),
            compress={"real": paths("compress_real"), "fake": paths("compress_fake")},
            frames={"real": paths("frames_real"), "fake": paths("frames_fake")},
            import_released={"real": paths("released_real"), "fake": paths("released_fake")}
            if run_plan.released
            else {},
        ),
        out=Path(snakemake.output.videos).parent,
        split_of=run_plan.split_of(),
        refused=[*run_plan.refused(), *surplus_clips(run_plan.config.animators, read_rows(paths("plan")))],
        qualities=snakemake.params.qualities,
        quota=snakemake.params.quota,
        reals=snakemake.params.reals,
        max_failed_fraction=snakemake.params.max_failed_fraction,
        plan=run_plan.config.plan,
        seed=run_plan.config.seed,
        folds=snakemake.params.folds,
    )
