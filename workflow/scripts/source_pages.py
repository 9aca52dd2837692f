from pathlib import Path

from deepfakemnist.report.crops_page import write_crops_page
from deepfakemnist.report.quality_page import write_missing, write_source_page
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    ingested = [*snakemake.input.ingest_source, *snakemake.input.ingest_driver]
    cropped = [*snakemake.input.crop_source, *snakemake.input.crop_driver]
    plan = run_plan_of(snakemake)
    notices = [snakemake.params.notice]
    write_source_page(ingested, cropped, plan.refused(), Path(snakemake.output.page), plan.left_aside(), notices)
    write_crops_page(ingested, cropped, Path(snakemake.output.crops), notices)
    write_missing(ingested, Path(snakemake.output.missing))
