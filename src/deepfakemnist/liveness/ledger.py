"""Answer ledger of the liveness vendors: an idempotent response cache on disk, so no answer is paid for twice.

One JSON file per answer, written to a temporary name, flushed and renamed; :mod:`.packs` makes few files of many. A
database would leave few from the start, but SQLite's write-ahead log needs shared memory and its locks are unreliable
on network file systems, which the jobs of a cluster share; a rename is atomic on all of them.

While a question is out, a mark next to the place of its answer says so. A job that dies leaves the mark: the vendor may
have billed a response that nobody read. Such a question is in doubt. It stays counted as spent, is named in log, table
and ``deepfakemnist liveness ledger``, and is sent again only by ``on_doubt: ask``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.liveness.files import DamagedFile, read_json, write_json
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.packs import SUFFIX as PACKED
from deepfakemnist.liveness.packs import add_to_pack, pack_of, packed_answers, read_packed, take_from_pack
from deepfakemnist.liveness.responses import Unreadable, find_log_id
from deepfakemnist.tables.disk_room import check_room
from deepfakemnist.tables.locks import locked
from deepfakemnist.tables.schemas import Row

log = logging.getLogger(__name__)

OnDoubt = Literal["ask", "reject", "stop"]
_MARK, _FORGOTTEN = ".asked", ".forgotten"
#: Images within a raw response: JSON strings of base64 alone. Only their hash is stored.
_IMAGE = re.compile(r'(?<=")[A-Za-z0-9+/=_\\-]{1001,}(?=")')
#: Characters kept of a response that is not the vendor's.
_KEPT_TEXT = 2000


class Question:
    """A question held under its lock: the requests that are or may be out, and the response that came.

    Args:
        mark: file of the mark.
        about: what is asked, by whom and about which clip; JSON values.
        on_doubt: whether a question in doubt is asked again, refused, or stops the run.
        on_lost: called with the price of each request that an earlier job left out.
    """

    def __init__(self, mark: Path, about: Row, on_doubt: OnDoubt, on_lost: Callable[[float], None]) -> None:
        state = _read_mark(mark)
        self._mark, self._on_doubt = mark, on_doubt
        named: Row = {name: state[name] for name in ("video_id", "action") if name in state}
        self._about = {**named, **about}
        #: Requests without an answer, oldest first; ``received`` if the last one's response waits to be understood.
        self.requests: list[Row] = state.get("requests", [])
        self.received: Row | None = state.get("received")
        self._note_kill(on_lost)

    def leaves(self, price: float) -> None:
        """Record on disk that a request is about to leave. Raises: MachineError if its answer may find no room."""
        check_room(self._mark.parent)
        self.requests.append({"asked_at": _now(), "price": price, "lost": ""})
        self._write()

    def arrived(self, text: str, attempts: int, latency_s: float) -> None:
        """Record on disk what came back, before anybody tries to understand it. ``text`` holds no keys."""
        self.received = {"text": _IMAGE.sub(_hash_of_match, text), "attempts": attempts, "latency_s": latency_s}
        self._write()

    def not_served(self) -> None:
        """Forget the last request: the vendor has not served it."""
        self.requests, self.received = self.requests[:-1], None
        self._write()

    def lost(self, why: str, text: str) -> None:
        """Record that the last request may have been billed, though its response is no answer."""
        self.received = None
        kept = _IMAGE.sub(_hash_of_match, text)[:_KEPT_TEXT]
        self.requests[-1] |= {"lost": why, "log_id": find_log_id(text), "text": kept}
        self._write()

    def answered(self) -> None:
        """Remove the mark: the answer is stored."""
        self._mark.unlink(missing_ok=True)

    def refusal(self) -> Failed | StopRun | None:
        """Return what to raise instead of asking again; None if nothing is in doubt, or it may be asked again."""
        if not self.requests or self.received or self._on_doubt == "ask":
            return None
        text = f"{describe_doubt(self._about, self.requests)}; not asked again, because on_doubt is {self._on_doubt}"
        if self._on_doubt == "stop":
            return StopRun(
                f"{text}. Look at the vendor's bill, then set on_doubt of this provider to ask (may be billed again) "
                "or reject (the clip gets no verdict)"
            )
        return Failed("in_doubt", text)

    def _note_kill(self, on_lost: Callable[[float], None]) -> None:
        if not self.requests or self.received:
            return
        for request in self.requests:
            if not request.get("lost"):
                on_lost(float(request.get("price") or 0.0))
                request["lost"] = "the job ended before a response was stored"
        log.warning("%s", describe_doubt(self._about, self.requests))
        self._write()

    def _write(self) -> None:
        if self.requests:
            write_json(self._mark, {**self._about, "requests": self.requests, "received": self.received})
        else:
            self._mark.unlink(missing_ok=True)


class Ledger:
    """Answers of one provider below ``folder``, keyed by a digest of pixels and parameters."""

    def __init__(self, folder: Path, provider: str, on_doubt: OnDoubt = "reject") -> None:
        self.folder = folder / provider
        self.provider, self.on_doubt = provider, on_doubt

    def get_or_request(
        self,
        pixels_sha256: str,
        parameters: Row,
        request: Callable[[Question], Row],
        on_lost: Callable[[float], None],
        about: Row | None = None,
    ) -> Row:
        """Return the stored answer about a clip, or request and store it.

        Args:
            pixels_sha256: hash of the clip's decoded pixels.
            parameters: everything else the answer depends on; JSON values. No keys.
            request: sends the request and returns what to store; tells the question what leaves and arrives. No other
                job can send the same request meanwhile.
            on_lost: called with its price for each request that an earlier job sent without storing a response: only
                the vendor knows whether it was billed.
            about: what names the clip in messages: ``video_id`` and ``action``.

        Raises:
            Failed: ``in_doubt``, with ``on_doubt: reject``; ``answer_unreadable``: a response was stored but no answer
                could be made of it; or what ``request`` raises.
            StopRun: in doubt, with ``on_doubt: stop``.
        """
        key = answer_key(pixels_sha256, self.provider, parameters)
        path = self.folder / key[:2] / f"{key}.json"
        stored = _read_answer(path)
        if stored is not None:
            return stored
        with _locked(self.folder, key):
            stored = _read_answer(path)
            if stored is not None:
                return stored
            asked = {"provider": self.provider, "pixels_sha256": pixels_sha256, "parameters": parameters}
            question = Question(path.with_suffix(_MARK), {**(about or {}), **asked}, self.on_doubt, on_lost)
            if refusal := question.refusal():
                raise refusal
            try:
                response = request(question)
                answer = {**response, "key": key, **asked, **_history(question)}
                write_json(path, answer)
            except (Failed, Rejected, OSError, MemoryError):
                raise
            except Exception as error:
                if question.received is None:
                    raise
                # The mark keeps the response: the next run tries to understand it again, and does not ask.
                raise Unreadable(f"{type(error).__name__} in the response kept in {question._mark}") from error
            question.answered()
            return answer


def answer_key(pixels_sha256: str, provider: str, parameters: Row) -> str:
    """Return the key of an answer: sha256 over pixels, provider and parameters."""
    text = json.dumps([pixels_sha256, provider, parameters], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_answers(folder: Path, provider: str = "*") -> Iterator[dict[str, Any]]:
    """Yield every answer below the folder of the ledgers, grouped by provider; a damaged one is logged instead."""
    # A job killed while writing leaves a temporary file whose name begins with a dot.
    for pack in sorted(folder.glob(f"{provider}/[0-9a-f][0-9a-f]{PACKED}")):
        loose = {path.stem for path in pack.with_suffix("").glob("[0-9a-f]*.json")}
        try:
            yield from packed_answers(pack, without=loose)
        except DamagedFile as damage:
            log.warning("%s; restore it from a copy. Its answers are not counted", damage)
    yield from _read_all(folder, f"{provider}/??/[0-9a-f]*.json")


def read_forgotten(folder: Path, provider: str = "*") -> Iterator[dict[str, Any]]:
    """Yield every answer and mark that ``forget`` has set aside."""
    return _read_all(folder, f"{provider}/??/[0-9a-f]*{_FORGOTTEN}")


def read_doubts(folder: Path, provider: str = "*", in_flight: bool = False) -> Iterator[dict[str, Any]]:
    """Yield every question in doubt below the folder of the ledgers.

    Args:
        folder: folder of the ledgers.
        provider: one provider; by default all.
        in_flight: include the questions that jobs are asking now.
    """
    for path in sorted(folder.glob(f"{provider}/??/[0-9a-f]*{_MARK}")):
        try:
            with nullcontext() if in_flight else _locked(path.parents[1], path.stem, wait=False):
                state = _read_mark(path)
        except Timeout:
            continue
        if state.get("requests") and (in_flight or not state.get("received")):
            yield {**state, "key": path.stem, "provider": path.parents[1].name}


def forget(folder: Path, provider: str, keys: Iterable[str]) -> int:
    """Set answers or marks aside, so that the next run asks and pays again; return how many.

    They stay in the folder under another name, and counted as spent.
    """
    count = 0
    for key in keys:
        with _locked(folder / provider, key[:2]), _locked(folder / provider, key):
            take_from_pack(pack_of(folder / provider, key), [key])
            for suffix in (".json", _MARK):
                path = folder / provider / key[:2] / f"{key}{suffix}"
                if path.exists():
                    path.replace(path.with_name(f"{key}.{time.time_ns()}{_FORGOTTEN}"))
                    count += 1
    return count


def pack_answers(folder: Path) -> tuple[int, list[str]]:
    """Pack all answers below the folder of the ledgers; return how many, and what was left and why.

    Answers whose locks a job holds stay for the next time, and so do damaged ones.
    """
    count, left = 0, list[str]()
    for place in sorted(path for path in folder.glob("*/[0-9a-f][0-9a-f]") if path.is_dir()):
        provider, prefix = place.parent, place.name
        try:
            with ExitStack() as locks:
                for digit in ("", *"0123456789abcdef"):
                    locks.enter_context(_locked(provider, prefix + digit, wait=False))
                loose = [path for path in sorted(place.glob("[0-9a-f]*.json")) if _is_whole(path, left)]
                if loose:
                    add_to_pack(provider / f"{prefix}{PACKED}", loose)
                    count += len(loose)
                # Marks, and answers that were set aside, stay where they are.
                with suppress(OSError):
                    place.rmdir()
        except Timeout:
            left.append(f"{place}: a job is asking; pack again later")
        except DamagedFile as damage:
            left.append(f"{damage}; restore it from a copy")
    return count, left


def _is_whole(path: Path, left: list[str]) -> bool:
    try:
        read_json(path)
    except DamagedFile as damage:
        left.append(str(damage))
        return False
    return True


def _read_all(folder: Path, pattern: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(pattern)):
        try:
            answer = read_json(path)
        except DamagedFile as damage:
            log.warning("%s; restore it from a copy. It is not counted", damage)
            continue
        if answer is not None:
            yield answer


def describe_doubt(about: Row, requests: list[Row]) -> str:
    """Return a sentence that names a question in doubt: clip, time, price, reason, the vendor's log id."""
    clip = about.get("video_id") or f"pixels {str(about.get('pixels_sha256', 'unknown'))[:16]}"
    last = requests[-1]
    times = f"{len(requests)} times, last " if len(requests) > 1 else ""
    price = sum(float(request.get("price") or 0.0) for request in requests)
    log_id = f", vendor's log id {last['log_id']}" if last.get("log_id") else ""
    why = last.get("lost") or "the job is gone"
    return (
        f"{about.get('provider', 'vendor')} was asked about {clip} {times}at "
        f"{last.get('asked_at') or 'an unknown time'}{log_id}, and no answer is known ({why}): "
        f"{price:g} may have been billed, and is counted as spent"
    )


def _history(question: Question) -> Row:
    """Return what an answer says about requests for it that may have been billed besides."""
    lost = [request for request in question.requests if request["lost"]]
    text = question.received["text"] if question.received else ""
    return {"in_doubt": len(lost), "lost": lost, "log_id": find_log_id(text)}


def _read_answer(path: Path) -> Row | None:
    try:
        answer = read_json(path)
        return read_packed(pack_of(path.parents[1], path.stem), path.stem) if answer is None else answer
    except DamagedFile as damage:
        advice = "restore the file from a copy, or delete it to ask and pay again"
        raise Unreadable(f"{damage}. What it holds was paid for: {advice}") from None


def _read_mark(path: Path) -> Row:
    """Return the state in a mark; one request at an unknown time where the mark is damaged or of an earlier version."""
    try:
        state = read_json(path)
    except DamagedFile:
        state = {}
    if state is None:
        return {}
    requests = state.get("requests")
    if not isinstance(requests, list) or not all(isinstance(one, dict) for one in requests):
        return {"requests": [{"asked_at": "", "price": 0.0, "lost": ""}]}
    return state


def _hash_of_match(found: re.Match[str]) -> str:
    return f"sha256:{hashlib.sha256(found[0].encode()).hexdigest()}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextmanager
def _locked(folder: Path, key: str, wait: bool = True) -> Iterator[None]:
    # One lock per answer would leave one file per answer; 4096 locks are shared by key prefix instead.
    with locked(folder / "locks" / f"{key[:3]}.lock", wait_s=-1 if wait else 0):
        yield
