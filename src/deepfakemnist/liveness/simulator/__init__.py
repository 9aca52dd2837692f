"""Liveness services on this machine, speaking the vendors' contracts, for demos and tests without keys or money."""
