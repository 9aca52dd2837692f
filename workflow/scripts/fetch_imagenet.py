from pathlib import Path

from deepfakemnist.training.imagenet import store_imagenet_weights
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    store_imagenet_weights(snakemake.params.network, Path(snakemake.output.weights))
