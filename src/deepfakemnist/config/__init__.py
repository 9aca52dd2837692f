"""Config models (pydantic), one module per part, and the loader that validates a config before any job.

Knows no code of a stage and imports nothing heavy: every job parses the config again.
"""
