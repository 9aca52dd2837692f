"""Pydantic models of the config, one module per section, and its loader and validator.

Imports no stage code and nothing heavy: every job parses the config again.
"""
