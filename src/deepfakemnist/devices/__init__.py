"""Processors: choice of the torch device, allocation of GPUs to jobs, checked reduced precision."""
