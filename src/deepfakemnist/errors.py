"""Exception types for config errors, rejected videos and failed videos.

A bad video becomes a row; config errors and too many failures stop the run.
"""


class ConfigError(ValueError):
    """Invalid config or sample sheet; the message names key or line, value and what is allowed."""


class Rejected(Exception):
    """Video excluded by a data rule (no face, too short, liveness); becomes a ``rejected`` row.

    Args:
        reason: short stable code in snake_case, e.g. ``no_face``; reports group by it.
        detail: observed values and limits.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Failed(Exception):
    """Video that could not be processed, for a known reason; becomes a ``failed`` row, and the run continues."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TooManyFailures(RuntimeError):
    """More failed videos than ``max_failed_fraction`` allows; the message lists them."""
