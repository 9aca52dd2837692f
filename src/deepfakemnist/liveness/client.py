"""HTTP client for metered liveness APIs: rate limiting, retries with back-off, billing, no secrets in messages.

Our own code, because the budget depends on which attempts were billed, and a generic retry library does not know that.
Each vendor's module (``baidu.py``, ``motion_services.py``) says which of its error codes are transient; broken
connections, timeouts, status 429 and 5xx and bodies that are not JSON are retried for every vendor.
"""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from deepfakemnist.config.liveness import VendorSettings
from deepfakemnist.errors import Failed
from deepfakemnist.liveness.meter import Meter, StopRun

log = logging.getLogger(__name__)

#: Exponential back-off from the first to the maximum, seconds, with jitter: each wait is multiplied by a random factor
#: between 0.5 and 1, so that jobs rejected at the same moment do not retry at the same moment.
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 60.0
#: HTTP statuses that are worth a retry.
_TRANSIENT_STATUS = {429, 500, 502, 503, 504}


class TransientError(Exception):
    """The attempt got no usable response; the same request may be retried.

    Args:
        reason: what went wrong, for the log.
        wait_s: seconds the vendor asks to wait; None: the usual back-off.
        rate_limited: the rate limit was exceeded, so all jobs must wait.
        in_doubt: the response was lost, so only the vendor knows whether it was billed.
    """

    def __init__(
        self, reason: str, *, wait_s: float | None = None, rate_limited: bool = False, in_doubt: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait_s, self.rate_limited, self.in_doubt = wait_s, rate_limited, in_doubt


@dataclass(frozen=True)
class Reply:
    """A valid response with the number of attempts and its latency."""

    body: dict[str, Any]
    attempts: int
    #: Seconds from the successful request to its response; waiting for the meter is excluded.
    latency_s: float


class Client:
    """Sends the requests of one provider.

    Args:
        settings: timeouts and number of attempts.
        meter: rate limit, quota and spend, shared by all jobs.
        sleep: sleeps between attempts.
    """

    def __init__(self, settings: VendorSettings, meter: Meter, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings, self.meter = settings, meter
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "deepfakemnist"

    def call(
        self, send: Callable[[requests.Session], requests.Response], check_body: Callable[[dict], None], price: float
    ) -> Reply:
        """Send a request, retrying transient errors with back-off.

        Args:
            send: sends one attempt; called again for each, so that timestamps and signatures are fresh.
            check_body: validates the returned JSON object; raises TransientError, StopRun or Failed.
            price: price of a response.

        Raises:
            Failed: no response after ``attempts`` attempts, or a response that means an error.
            StopRun: quota or budget is exhausted, or the keys are rejected.
        """
        last = ""
        for attempt in range(1, self.settings.attempts + 1):
            self.meter.acquire(price)
            started = time.perf_counter()
            try:
                body = self._attempt(send)
                check_body(body)
                return Reply(body, attempt, time.perf_counter() - started)
            except TransientError as error:
                last = str(error)
                (self.meter.mark_in_doubt if error.in_doubt else self.meter.refund)(price)
                wait = error.wait_s if error.wait_s is not None else _backoff(attempt)
                log.info("attempt %d: %s; retry in %.1f s", attempt, last, wait)
                if error.rate_limited:
                    self.meter.pause(wait)
                elif attempt < self.settings.attempts:
                    self._sleep(wait)
            except (Failed, StopRun):
                self.meter.refund(price)
                raise
        raise Failed("no_answer", f"no response after {self.settings.attempts} attempts; last error: {last}")

    def post(self, session: requests.Session, path: str, **content: Any) -> requests.Response:
        """POST to ``path`` below the provider's base URL. Redirects are not followed, so keys go nowhere else."""
        settings = self.settings
        return session.post(
            settings.base_url.rstrip("/") + path,
            timeout=(settings.connect_timeout_s, settings.read_timeout_s),
            allow_redirects=False,
            **content,
        )

    def _attempt(self, send: Callable[[requests.Session], requests.Response]) -> dict[str, Any]:
        # Exception messages of requests contain the whole URL, keys included, so only the exception type is reported.
        try:
            response = send(self._session)
        except requests.ConnectTimeout:
            raise TransientError("connection timed out") from None
        except requests.Timeout:
            raise TransientError("response timed out", in_doubt=True) from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise TransientError(f"connection failed ({type(error).__name__})", in_doubt=True) from None
        except requests.RequestException as error:
            raise Failed("bad_request", f"cannot send the request ({type(error).__name__})") from None
        if response.status_code in _TRANSIENT_STATUS:
            raise TransientError(
                f"HTTP status {response.status_code}",
                wait_s=_retry_after(response.headers.get("Retry-After")),
                rate_limited=response.status_code == 429,
            )
        if response.status_code != 200:
            raise StopRun(
                f"{self.settings.base_url} responded with HTTP status {response.status_code}; check base_url, the "
                "paths and the keys"
            )
        try:
            body = response.json()
        except ValueError:
            raise TransientError("the response is not valid JSON, perhaps truncated", in_doubt=True) from None
        if not isinstance(body, dict):
            raise TransientError(f"the response is a JSON {type(body).__name__}, not an object", in_doubt=True)
        return body


def _backoff(attempt: int) -> float:
    return min(_FIRST_BACKOFF_S * 2 ** (attempt - 1), _MAX_BACKOFF_S) * random.uniform(0.5, 1.0)


def _retry_after(value: str | None) -> float | None:
    """Parse a Retry-After header, a number of seconds or a date (RFC 9110, 10.2.3), into seconds to wait."""
    if value is None:
        return None
    try:
        wait = float(value)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(wait, 0.0), _MAX_BACKOFF_S)
