"""HTTP statuses of a metered API: which may be retried, and which leave open whether a response was billed.

Sources: RFC 9110 (HTTP semantics) by section, RFC 6585 (429), RFC 8470 (425), RFC 4918 (507). A status of an unknown
number counts as the x00 of its class (RFC 9110, 15).
"""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """What a status means for the request."""

    #: The request was not served, so nothing is billed: retry.
    RETRY = "retry"
    #: The same, because of the rate: all jobs wait.
    RATE_LIMITED = "rate limited"
    #: A gateway got no response from the service behind it, which may have served and billed the request.
    IN_DOUBT = "in doubt"
    #: This upload is refused, every time.
    TOO_LARGE = "too large"
    #: Every request is refused.
    STOP = "stop"


#: Status → outcome and source; every other one below 500 stops the run.
STATUSES: dict[int, tuple[Outcome, str]] = {
    408: (Outcome.RETRY, "RFC 9110, 15.5.9: no complete request arrived in time; may be repeated"),
    413: (Outcome.TOO_LARGE, "RFC 9110, 15.5.14: the content is larger than the server is willing to process"),
    425: (Outcome.RETRY, "RFC 8470, 5.2: not processed, because it might be a replay; may be repeated"),
    429: (Outcome.RATE_LIMITED, "RFC 6585, 4: too many requests in a given time"),
    500: (Outcome.RETRY, "RFC 9110, 15.6.1: an unexpected condition prevented fulfilling the request"),
    501: (Outcome.STOP, "RFC 9110, 15.6.2: the method is not supported"),
    502: (Outcome.IN_DOUBT, "RFC 9110, 15.6.3: a gateway got an invalid response"),
    503: (Outcome.RETRY, "RFC 9110, 15.6.4: temporary overload or maintenance"),
    504: (Outcome.IN_DOUBT, "RFC 9110, 15.6.5: a gateway got no response in time"),
    505: (Outcome.STOP, "RFC 9110, 15.6.6: the HTTP version is not supported"),
    507: (Outcome.RETRY, "RFC 4918, 11.5: no room to store what the request needs, considered temporary"),
    511: (Outcome.STOP, "RFC 6585, 6: the network asks for a login first"),
}


def outcome_of(status: int) -> Outcome:
    """Return what a status other than 200 means."""
    if status in STATUSES:
        return STATUSES[status][0]
    return STATUSES[500][0] if 500 <= status < 600 else Outcome.STOP
