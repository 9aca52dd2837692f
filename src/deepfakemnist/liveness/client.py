"""HTTP client for metered liveness APIs: rate limiting, retries with back-off, billing, no secrets in messages.

Our own code, because the budget depends on which attempts were billed, and a generic retry library does not know that.
Each vendor's module (``baidu.py``, ``motion_services.py``) says what its error codes mean, ``http_status.py`` what a
status does. A request whose response is lost may have been billed: ``on_doubt`` decides whether it is sent again.
"""

from __future__ import annotations

import email.utils
import json
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from deepfakemnist.config.liveness import VendorSettings
from deepfakemnist.errors import Failed
from deepfakemnist.liveness.http_status import Outcome, outcome_of
from deepfakemnist.liveness.ledger import Question
from deepfakemnist.liveness.meter import Meter, StopRun
from deepfakemnist.liveness.redaction import Redactor
from deepfakemnist.liveness.responses import parse_object, printable
from deepfakemnist.liveness.transport import CannotSend, Response, TransientError, exchange

log = logging.getLogger(__name__)

#: Exponential back-off from the first to the maximum, seconds, with jitter: each wait is multiplied by a random factor
#: between 0.5 and 1, so that jobs rejected at the same moment do not retry at the same moment.
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 60.0
#: So many questions of a job in doubt, one after the other, are an outage rather than a lost response. The job stops,
#: because each further clip would lose its verdict, and perhaps its price, to the outage.
_MAX_LOST_IN_A_ROW = 5


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
        settings: timeouts, number of attempts, and what to do about a lost response.
        meter: rate limit, quota and spend, shared by all jobs.
        redactor: knows the keys, which appear in no message.
        sleep: sleeps between attempts.
    """

    def __init__(
        self,
        settings: VendorSettings,
        meter: Meter,
        redactor: Redactor | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings, self.meter = settings, meter
        self.redactor = redactor or Redactor()
        self._sleep = sleep
        self._lost_in_a_row = 0

    def call(
        self,
        send: Callable[[requests.Session], requests.Response],
        check_body: Callable[[dict[str, Any]], None],
        price: float,
        question: Question | None = None,
    ) -> Reply:
        """Send a request, retrying transient errors with back-off.

        Args:
            send: sends one attempt; called again for each, so that timestamps and signatures are fresh.
            check_body: looks for error codes in the returned JSON object; raises TransientError, StopRun or Failed. A
                body that it accepts is the answer that was paid for, whatever else is in it.
            price: price of a response.
            question: the question about a clip that is billed; None for requests that answer nothing, such as a token:
                they are sent again when their response is lost.

        Raises:
            Failed: no response after ``attempts`` attempts, a response that means an error, or ``in_doubt``: the
                response of a question was lost and ``on_doubt`` forbids to ask it again.
            StopRun: quota or budget is exhausted, or the keys are rejected.
        """
        try:
            return self._kept(check_body, price, question) or self._call(send, check_body, price, question)
        except Failed as error:
            error.detail = self.redactor.text(error.detail)
            error.args = (f"{error.reason}: {error.detail}",)
            raise
        except StopRun as stop:
            stop.args = (self.redactor.text(str(stop)),)
            raise

    def _kept(
        self, check_body: Callable[[dict[str, Any]], None], price: float, question: Question | None
    ) -> Reply | None:
        """Return the response that a killed job wrote down before it understood it; None if there is none."""
        if question is None or question.received is None:
            return None
        received = question.received
        try:
            return Reply(self._understood(received["text"], check_body), received["attempts"], received["latency_s"])
        except TransientError as error:
            self._settle(error, price, question)
        except (Failed, StopRun):
            question.not_served()
            self.meter.refund(price)
            raise
        if refusal := question.refusal():
            raise refusal
        return None

    def _call(
        self,
        send: Callable[[requests.Session], requests.Response],
        check_body: Callable[[dict[str, Any]], None],
        price: float,
        question: Question | None,
    ) -> Reply:
        last = ""
        for attempt in range(1, self.settings.attempts + 1):
            self.meter.acquire(price)
            if question:
                question.leaves(price)
            started = time.perf_counter()
            try:
                text = self._exchange(send)
                latency = time.perf_counter() - started
                if question:
                    text = self._without_keys(text)
                    question.arrived(text, attempt, latency)
                reply = Reply(self._understood(text, check_body), attempt, latency)
                self._lost_in_a_row = 0
                return reply
            except TransientError as error:
                last = self.redactor.text(str(error))
                self._settle(error, price, question)
                if error.in_doubt and question and (refusal := question.refusal()):
                    self._count_lost(last)
                    raise refusal from None
                wait = error.wait_s if error.wait_s is not None else _backoff(attempt)
                log.info("attempt %d: %s; retry in %.1f s", attempt, last, wait)
                if error.rate_limited:
                    self.meter.pause(wait)
                elif attempt < self.settings.attempts:
                    self._sleep(wait)
            except (Failed, StopRun):
                self.meter.refund(price)
                if question:
                    question.not_served()
                raise
        raise Failed("no_answer", f"no response after {self.settings.attempts} attempts; last error: {last}")

    def post(self, session: requests.Session, path: str, **content: Any) -> requests.Response:
        """POST to ``path`` below the provider's base URL. Redirects are not followed, so keys go nowhere else."""
        settings = self.settings
        return session.post(
            settings.base_url.rstrip("/") + path,
            timeout=(settings.connect_timeout_s, settings.read_timeout_s),
            allow_redirects=False,
            stream=True,
            **content,
        )

    def _exchange(self, send: Callable[[requests.Session], requests.Response]) -> str:
        """Return the text of a response with status 200."""
        try:
            response = exchange(send, self.settings.deadline_s)
        except CannotSend as error:
            raise Failed("bad_request", f"cannot send the request ({error})") from None
        if response.status != 200:
            self._raise_for_status(response)
        return response.text

    def _raise_for_status(self, response: Response) -> None:
        status, outcome = response.status, outcome_of(response.status)
        text = f"HTTP status {status}"
        if outcome is Outcome.TOO_LARGE:
            raise Failed(
                "upload_too_large", f"{text}: the vendor accepts no upload of this size; lower upload.max_bytes"
            )
        if outcome is Outcome.STOP:
            said = printable(self.redactor.text(response.text))
            raise StopRun(
                f"{self.settings.base_url} responded with {text}{f' ({said})' if said else ''}; check base_url, the "
                "paths and the keys"
            )
        raise TransientError(
            text,
            wait_s=_retry_after(response.headers.get("Retry-After")),
            rate_limited=outcome is Outcome.RATE_LIMITED,
            in_doubt=outcome is Outcome.IN_DOUBT,
            text=response.text,
        )

    @staticmethod
    def _understood(text: str, check_body: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        body = parse_object(text)
        if body is None:
            raise TransientError("the response is no JSON object, perhaps truncated", in_doubt=True, text=text)
        try:
            check_body(body)
        except TransientError as error:
            error.text = error.text or text
            raise
        return body

    def _without_keys(self, text: str) -> str:
        """Return a response without keys that is as readable as before: a key may be digits of some number in it."""
        redacted, body = self.redactor.text(text), parse_object(text)
        if redacted == text or body is None or parse_object(redacted) is not None:
            return redacted
        return json.dumps(self.redactor.json(body))

    def _settle(self, error: TransientError, price: float, question: Question | None) -> None:
        """Count what an attempt without a usable response has cost."""
        if error.in_doubt:
            self.meter.mark_in_doubt(price)
            if question:
                question.lost(self.redactor.text(str(error)), self.redactor.text(error.text))
        else:
            self.meter.refund(price)
            if question:
                question.not_served()

    def _count_lost(self, last: str) -> None:
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= _MAX_LOST_IN_A_ROW:
            raise StopRun(
                f"the responses to {self._lost_in_a_row} questions in a row were lost, the last one because: {last}. "
                "Each may have been billed, and none is asked again. Check the network and the vendor's state, then "
                "rerun the same command; deepfakemnist liveness ledger lists these questions"
            )


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
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(wait) else min(max(wait, 0.0), _MAX_BACKOFF_S)
