"""DeepFakeMnist+: talking-head videos in; a facial-animation deepfake dataset, detectors and a report out.

snakemake --cores 8 --resources gpu=1            everything, as configured in config/config.yaml
snakemake dataset --cores 8 --resources gpu=1    videos, frames and manifest
snakemake detectors --cores 8 --resources gpu=1  also the trained detectors and their predictions
snakemake --report report.html                   afterwards: the report as one HTML file
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


pathvars:
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/animators.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/inputs.smk"


wildcard_constraints:
    role="source|driver",
    kind="real|fake",
    shard=r"[A-Za-z0-9._#@+-]+",
    batch=r"batch-[0-9a-f]+([+][A-Za-z0-9_-]+)?(@\d+)?",
    round=r"\d+",
    provider="|".join(PROVIDERS),
    detector="[a-z0-9_]+",
    trained_on="[A-Za-z0-9_-]+",
    seed=r"\d+",


include: "workflow/rules/fakes.smk"
include: "workflow/rules/packed.smk"
include: "workflow/rules/storage.smk"


if RUN_PLAN.released:

    include: "workflow/rules/released.smk"

else:

    include: "workflow/rules/sources.smk"
    include: "workflow/rules/source_pages.smk"
    include: "workflow/rules/rounds.smk"
    include: "workflow/rules/batches.smk"
    include: "workflow/rules/animator.smk"
    include: "workflow/rules/rendered.smk"
    include: "workflow/rules/animate.smk"
    include: "workflow/rules/judge.smk"
    include: "workflow/rules/liveness.smk"


include: "workflow/rules/videos.smk"
include: "workflow/rules/identities.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/manifest.smk"
include: "workflow/rules/release.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/detectors.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/gallery.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/overview.smk"
include: "workflow/rules/start_and_end.smk"


localrules:
    all,
    dataset,
    detectors,
    report,


rule all:
    """Everything: dataset, detectors, evaluation and report pages."""
    default_target: True
    input:
        rules.report.input,
