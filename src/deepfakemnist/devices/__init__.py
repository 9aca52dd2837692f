"""Compute devices: torch device selection, GPU allocation to jobs, validated reduced precision."""
