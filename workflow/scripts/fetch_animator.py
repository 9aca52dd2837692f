from deepfakemnist.animate.weight_files import fetch_weights
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    given = snakemake.params.weights
    fetch_weights(given["weights_url"], given["weights"], given["weights_sha256"])
