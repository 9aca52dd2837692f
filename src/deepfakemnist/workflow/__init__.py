"""Snakemake integration: the run plan behind the rules, and the frame around every script."""
