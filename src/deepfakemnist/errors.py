"""The three ways something can be wrong: a video's data, a video's processing, the user's configuration."""


class ConfigError(ValueError):
    """The configuration or an input sheet is unusable; the message names key or line, value and what is allowed."""


class Rejected(Exception):
    """A rule of the data said no to this video (no face, too short, liveness). Becomes a ``rejected`` row.

    Args:
        reason: short stable code in snake_case, e.g. ``no_face``; tables are grouped by it.
        detail: what was seen, with figures and limits.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Failed(Exception):
    """This video could not be processed, for a known reason. Becomes a ``failed`` row; the run goes on."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TooManyFailures(RuntimeError):
    """More videos failed than ``max_failed_fraction`` allows; the message lists them."""
