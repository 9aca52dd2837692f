"""Evaluation of detectors: metrics, clustered intervals, pairwise comparisons, calibration and subgroups."""
