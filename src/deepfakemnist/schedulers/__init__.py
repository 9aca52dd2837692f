"""Batch schedulers besides SLURM, for Snakemake's cluster-generic executor: submission, status, cancellation."""
