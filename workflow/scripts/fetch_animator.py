from deepfakemnist.animate.weight_files import fetch_weights
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    # Read from the config, not from params: another mirror is no reason to fetch the same file again.
    settings = run_plan_of(snakemake).config.animator
    fetch_weights(settings.weights_url, settings.weights, settings.weights_sha256)
