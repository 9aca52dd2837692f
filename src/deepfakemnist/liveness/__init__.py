"""Liveness detection: local networks and vendor APIs that classify fakes as live or not, and the selection by them."""
