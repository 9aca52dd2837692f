"""DeepFakeMnist+: from folders of talking-head videos to a facial-animation deepfake dataset, detectors and a report.

snakemake --cores 8 --resources gpu=1            everything named by config/config.yaml
snakemake dataset --cores 8 --resources gpu=1    videos, frames and manifest
snakemake detectors --cores 8 --resources gpu=1  and the trained detectors with their predictions
snakemake --report report.html                   afterwards: the report, one file to open
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


pathvars:
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


wildcard_constraints:
    role="source|driver",
    kind="real|fake",
    shard=r"[A-Za-z0-9._#@-]+",
    batch=r"batch-\d+(@\d+)?",
    round=r"\d+",
    provider="|".join(PROVIDERS),
    detector="[a-z0-9_]+",
    trained_on="[A-Za-z0-9_-]+",
    seed=r"\d+",


include: "workflow/rules/fakes.smk"


if RUN_PLAN.released:

    include: "workflow/rules/released.smk"

else:

    include: "workflow/rules/sources.smk"
    include: "workflow/rules/rounds.smk"
    include: "workflow/rules/batches.smk"
    include: "workflow/rules/animate.smk"
    include: "workflow/rules/judge.smk"
    include: "workflow/rules/liveness.smk"


include: "workflow/rules/videos.smk"
include: "workflow/rules/manifest.smk"
include: "workflow/rules/release.smk"
include: "workflow/rules/detectors.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    dataset,
    detectors,
    report,


rule all:
    """Everything: dataset, detectors, evaluation, and the pages of the report."""
    default_target: True
    input:
        rules.report.input,


onerror:
    print(
        "\nA job failed: its log is named above, and logs of all jobs lie below "
        f"{LOGS}/. Finished videos are kept; the same command goes on from there. "
        "If Snakemake was killed and says the directory is locked, run it once with --unlock first."
    )
