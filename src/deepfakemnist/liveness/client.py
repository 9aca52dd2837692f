"""Asking a vendor over HTTP: what may be tried again is, at the contract's rate, and nothing secret is ever told.

Which answers may be tried again is the vendor's to say (``baidu.py``, ``tianyan.py``); below HTTP, connections that
break and time out, status 429 and 5xx, and answers that are no JSON are tried again.
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

#: Waits double from the first to the last of these, seconds, each times a random factor between a half and one, so
#: that jobs that were refused together do not come back together.
_FIRST_WAIT_S, _LAST_WAIT_S = 0.5, 60.0
#: Statuses after which the same request may succeed.
_PASSING_STATUS = {429, 500, 502, 503, 504}


class TryAgain(Exception):
    """The vendor did not answer this time; the same question may be put again.

    Args:
        reason: what it said.
        wait_s: seconds it asks to wait; None: as usual.
        crowded: it was asked too fast, so all jobs must wait.
        in_doubt: the answer was lost on the way, so only the vendor knows whether it was billed.
    """

    def __init__(
        self, reason: str, *, wait_s: float | None = None, crowded: bool = False, in_doubt: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait_s, self.crowded, self.in_doubt = wait_s, crowded, in_doubt


@dataclass(frozen=True)
class Reply:
    """An answer that was understood, and what it took."""

    body: dict[str, Any]
    attempts: int
    #: Seconds from the request that was answered to its answer; waiting for the turn does not count.
    latency_s: float


class Client:
    """Sends requests of one provider.

    Args:
        settings: timeouts and attempts.
        meter: rate, quota and spend, shared with all other jobs.
        sleep: how to wait before another attempt.
    """

    def __init__(self, settings: VendorSettings, meter: Meter, sleep: Callable[[float], None] = time.sleep) -> None:
        self.settings, self.meter = settings, meter
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "deepfakemnist"

    def call(
        self, send: Callable[[requests.Session], requests.Response], understand: Callable[[dict], None], price: float
    ) -> Reply:
        """Send a request until it is answered.

        Args:
            send: sends it; called for every attempt, so that times and signatures are fresh.
            understand: looks at the JSON object that came back; raises TryAgain, StopRun or Failed where it is no
                answer.
            price: of the answer.

        Raises:
            Failed: no answer after ``attempts`` tries, or one that means an error.
            StopRun: quota, money or keys.
        """
        last = ""
        for attempt in range(1, self.settings.attempts + 1):
            self.meter.take(price)
            started = time.perf_counter()
            try:
                body = self._once(send)
                understand(body)
                return Reply(body, attempt, time.perf_counter() - started)
            except TryAgain as again:
                last = str(again)
                (self.meter.doubt if again.in_doubt else self.meter.refund)(price)
                wait = again.wait_s if again.wait_s is not None else _wait(attempt)
                log.info("attempt %d: %s; again in %.1f s", attempt, last, wait)
                if again.crowded:
                    self.meter.pause(wait)
                elif attempt < self.settings.attempts:
                    self._sleep(wait)
            except (Failed, StopRun):
                self.meter.refund(price)
                raise
        raise Failed("no_answer", f"no answer after {self.settings.attempts} attempts; the last one: {last}")

    def post(self, session: requests.Session, path: str, **content: Any) -> requests.Response:
        """Send one POST request below the provider's address. Redirects are not followed: keys go nowhere else."""
        settings = self.settings
        return session.post(
            settings.base_url.rstrip("/") + path,
            timeout=(settings.connect_timeout_s, settings.read_timeout_s),
            allow_redirects=False,
            **content,
        )

    def _once(self, send: Callable[[requests.Session], requests.Response]) -> dict[str, Any]:
        # Messages of requests hold the whole address, keys included: only the kind of the error is told.
        try:
            response = send(self._session)
        except requests.ConnectTimeout:
            raise TryAgain("no connection in time") from None
        except requests.Timeout:
            raise TryAgain("no answer in time", in_doubt=True) from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise TryAgain(f"the connection broke ({type(error).__name__})", in_doubt=True) from None
        except requests.RequestException as error:
            raise Failed("bad_request", f"the request cannot be sent ({type(error).__name__})") from None
        if response.status_code in _PASSING_STATUS:
            raise TryAgain(
                f"HTTP status {response.status_code}",
                wait_s=_retry_after(response.headers.get("Retry-After")),
                crowded=response.status_code == 429,
            )
        if response.status_code != 200:
            raise StopRun(
                f"{self.settings.base_url} answered with HTTP status {response.status_code}; the address, the path or "
                "the keys are not what it expects"
            )
        try:
            body = response.json()
        except ValueError:
            raise TryAgain("the answer is no JSON, perhaps cut off", in_doubt=True) from None
        if not isinstance(body, dict):
            raise TryAgain(f"the answer is a JSON {type(body).__name__}, not an object", in_doubt=True)
        return body


def _wait(attempt: int) -> float:
    return min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LAST_WAIT_S) * random.uniform(0.5, 1.0)


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, a number or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        wait = float(value)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(wait, 0.0), _LAST_WAIT_S)
