"""Weights that detectors start from: downloaded where Snakemake runs, before any job needs them."""


localrules:
    fetch_imagenet,


rule fetch_imagenet:
    """Download the ImageNet weights of a network where Snakemake runs: nodes of a cluster may have no internet."""
    output:
        weights="<results>/weights/{network}.safetensors",
    log:
        "<logs>/fetch_imagenet/{network}.log",
    benchmark:
        "<benchmarks>/fetch_imagenet/{network}.tsv"
    wildcard_constraints:
        network="|".join(IMAGENET) or "none",
    # Missing weights are noticed before anything else is made.
    priority: 100
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
    params:
        network=lambda wildcards: IMAGENET[wildcards.network],
    script:
        "../scripts/fetch_imagenet.py"
