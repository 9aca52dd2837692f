"""Evaluation of detectors: metrics, bootstrap intervals, pairwise comparisons and subgroups."""
