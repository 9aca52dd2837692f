"""Local simulator of the liveness vendors' APIs, for demos and tests without keys or cost."""
