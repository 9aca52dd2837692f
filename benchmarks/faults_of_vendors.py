"""Faults of liveness vendors under parallel jobs and kills, of clocks, and of the meter and the ledger.

Two jobs ask a simulated vendor about overlapping clips while it misbehaves, and one of them is killed. Then the vendor
recovers, and both run again. Nothing is lost when every clip has the verdict of an undisturbed run, or is named as in
doubt or as answered unreadably; nothing is paid twice when the vendor's own record has every upload once at most.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fault_bench import Bench, Kind, Outcome, fault, small_disk
from simulated_vendors import ENVIRONMENT, MOTIONS, settings_for, small_clip

from deepfakemnist.errors import Failed
from deepfakemnist.liveness import client
from deepfakemnist.liveness.ledger import read_answers, read_doubts
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.registry import build, meter_path
from deepfakemnist.liveness.simulator.contract import KEYS, Contract
from deepfakemnist.liveness.simulator.faults import FAULTS, Fault, FaultPlan, Faults
from deepfakemnist.liveness.simulator.server import Simulator, running
from deepfakemnist.liveness.simulator.witness import HashWitness
from deepfakemnist.machine_errors import machine_error

os.environ.update(ENVIRONMENT)
client._FIRST_BACKOFF_S = 0.02  # a simulated vendor needs no time to recover

CLIPS = 8
#: Clips of the two jobs; those in the middle belong to both.
RANGES = ((0, 6), (2, CLIPS))
_NAMED = ("in_doubt", "answer_unreadable")
_SHARE = 0.4


class Vendor:
    """A simulated vendor in a process of its own, because jobs are forked from this one."""

    def __init__(self, folder: Path, plan: FaultPlan) -> None:
        self._folder = folder
        self._process = os.fork()
        if not self._process:
            try:
                self._serve(plan)
            finally:
                os._exit(0)
        while not (folder / "address").exists():
            time.sleep(0.01)
        self.address = (folder / "address").read_text()

    def _serve(self, plan: FaultPlan) -> None:
        simulator = Simulator(Contract(faults=plan), HashWitness())
        ended = []

        def recover(*_: object) -> None:
            simulator.account.faults = Faults(FaultPlan())

        signal.signal(signal.SIGUSR1, recover)
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
        with running(simulator) as address:
            (self._folder / "address.part").write_text(address)
            (self._folder / "address.part").rename(self._folder / "address")
            while not ended:
                time.sleep(0.02)
            (self._folder / "billed.json").write_text(json.dumps(list(simulator.account.billed.values())))

    def recovers(self) -> None:
        """End the faults."""
        os.kill(self._process, signal.SIGUSR1)
        time.sleep(0.05)

    def billed(self) -> list[int]:
        """End the vendor; return how often it billed each upload."""
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)
        return json.loads((self._folder / "billed.json").read_text())


def start(
    bench: Bench, vendor: Vendor, provider: str, clips: tuple[int, int], prepare: Callable[[Any], None] | None = None
) -> int:
    """Start a job as a forked process; it writes a line per clip: number, verdict or None, score or reason."""
    if child := os.fork():
        return child
    status = 3
    try:
        with (bench.folder / "messages.txt").open("a") as log, (bench.folder / f"{os.getpid()}.jsonl").open("w") as out:
            logging.basicConfig(level=logging.INFO, stream=log, force=True)
            status = _job(vendor.address, bench.folder / "answers", provider, clips, prepare, out)
    finally:
        os._exit(status)


def _job(
    address: str, answers: Path, provider: str, clips: tuple[int, int], prepare: Callable[[Any], None] | None, out: Any
) -> int:
    log = logging.getLogger("job")
    settings = settings_for(provider, address, attempts=10, read_timeout_s=0.5)
    try:
        built = build(settings, MOTIONS[provider], answers)
        if prepare:
            prepare(built)
        for number in range(*clips):
            try:
                verdict = built.check(small_clip(number), "blink")
                line = [number, verdict.live, verdict.score]
            except Failed as error:
                if (found := machine_error(error)) is not None:
                    raise found from error
                log.info("%s: %s", error.reason, error.detail)
                line = [number, None, error.reason]
            out.write(json.dumps(line) + "\n")
            out.flush()
    except StopRun as stop:
        log.error("stopped: %s", stop)
        return 1
    except Exception as error:
        log.error("stopped: %s", machine_error(error) or repr(error))
        return 1
    return 0


@cache
def truth(provider: str) -> dict[int, tuple[bool, float]]:
    """Return number → verdict and score of an undisturbed run."""
    with TemporaryDirectory() as name:
        vendor, bench = Vendor(Path(name), FaultPlan()), Bench(Path(), Path(name), random.Random(0))
        child = start(bench, vendor, provider, (0, CLIPS))
        os.waitpid(child, 0)
        vendor.billed()
        return _results(bench, [child])


def _results(bench: Bench, children: list[int]) -> dict[int, tuple[Any, Any]]:
    lines = [json.loads(line) for child in children for line in (bench.folder / f"{child}.jsonl").open()]
    return {number: (live, score) for number, live, score in lines}


@contextmanager
def _vendor(bench: Bench, plan: FaultPlan) -> Iterator[Vendor]:
    vendor = Vendor(bench.folder, plan)
    try:
        yield vendor
    finally:
        if not (bench.folder / "billed.json").exists():
            vendor.billed()


def _settle(bench: Bench, vendor: Vendor, provider: str, said: tuple[str, ...], harmless: bool = False) -> Outcome:
    """Let the vendor recover, run both jobs again, and compare."""
    before = (bench.folder / "messages.txt").read_text(errors="replace")
    vendor.recovers()
    children = [start(bench, vendor, provider, clips) for clips in RANGES]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    billed, found, wanted = vendor.billed(), _results(bench, children), truth(provider)
    named = {number for number, (live, reason) in found.items() if live is None and reason in _NAMED}
    right = {number for number in wanted if found.get(number) == wanted[number]}
    answers = bench.folder / "answers"
    spent = json.loads(meter_path(answers, provider).read_text())["spent"]
    counted = spent >= 0.09 * sum(billed) - 1e-6 if provider == "tianyan" else True
    stored = len(list(read_answers(answers))) + len(list(read_doubts(answers)))
    bench.messages += (bench.folder / "messages.txt").read_text(errors="replace").splitlines()
    bench.messages.append(f"{found=} {named=} {spent=} {billed=} {stored=} {statuses=}")
    leaked = any(
        key.encode() in path.read_bytes() for path in answers.rglob("*") if path.is_file() for key in KEYS.values()
    )
    return Outcome(
        lost=len(wanted.keys() - right - named),
        noticed=(harmless or any(word in before for word in said)) and not leaked and counted,
        healed=statuses == [0, 0] and right | named == wanted.keys(),
        paid_twice=sum(times - 1 for times in billed if times > 1),
    )


def _misbehaving(kind: Fault) -> Kind:
    provider = "baidu" if kind == "token" else "tianyan"

    def run(bench: Bench) -> Outcome:
        truth(provider)
        plan = FaultPlan(_SHARE, (kind,), bench.random.randrange(1000), hang_s=0.7, slow_s=0.2, drip_s=0.02)
        with _vendor(bench, plan) as vendor:
            children = [start(bench, vendor, provider, clips) for clips in RANGES]
            time.sleep(bench.random.uniform(0.05, 0.6))
            os.kill(children[bench.random.randrange(2)], signal.SIGKILL)
            for child in children:
                os.waitpid(child, 0)
            said = ("retry in", "in_doubt", "in doubt", "answer_unreadable", "stopped", "upload_too_large")
            return _settle(bench, vendor, provider, said, harmless=kind in ("slow", "drip", "token", "echo"))

    return run


for _kind in FAULTS:
    fault(f"vendor: {_kind}, two jobs, one killed")(_misbehaving(_kind))


@fault("vendor: all faults at once, two jobs, one killed thrice")
def _all_at_once(bench: Bench) -> Outcome:
    truth("tianyan")
    plan = FaultPlan(_SHARE, FAULTS, bench.random.randrange(1000), hang_s=0.7, slow_s=0.2, drip_s=0.02)
    with _vendor(bench, plan) as vendor:
        for _ in range(3):
            children = [start(bench, vendor, "tianyan", clips) for clips in RANGES]
            time.sleep(bench.random.uniform(0.05, 0.4))
            os.kill(children[0], signal.SIGKILL)
            for child in children:
                os.waitpid(child, 0)
        return _settle(bench, vendor, "tianyan", ("retry in", "in doubt", "in_doubt", "stopped"))


def _interrupted(bench: Bench, vendor: Vendor) -> None:
    """Run one job to its half."""
    child = start(bench, vendor, "tianyan", (0, CLIPS // 2))
    os.waitpid(child, 0)


def _damaged_meter(content: Callable[[bytes], bytes]) -> Kind:
    def run(bench: Bench) -> Outcome:
        truth("tianyan")
        with _vendor(bench, FaultPlan()) as vendor:
            _interrupted(bench, vendor)
            path = meter_path(bench.folder / "answers", "tianyan")
            path.write_bytes(content(path.read_bytes()))
            _interrupted(bench, vendor)
            child = start(bench, vendor, "tianyan", (0, CLIPS))
            os.waitpid(child, 0)
            return _settle(bench, vendor, "tianyan", ("tianyan",))

    return run


fault("meter: emptied")(_damaged_meter(lambda content: b""))
fault("meter: torn")(_damaged_meter(lambda content: content[: len(content) // 2]))
fault("meter: JSON of another kind")(_damaged_meter(lambda content: b'{"spent": "much"}'))


@fault("ledger: an answer torn")
def _torn_answer(bench: Bench) -> Outcome:
    truth("tianyan")
    with _vendor(bench, FaultPlan()) as vendor:
        _interrupted(bench, vendor)
        path = bench.random.choice(sorted((bench.folder / "answers").glob("*/??/*.json")))
        content = path.read_bytes()
        path.write_bytes(content[: bench.random.randrange(len(content))])
        os.waitpid(start(bench, vendor, "tianyan", (0, CLIPS)), 0)
        return _settle(bench, vendor, "tianyan", (path.stem[:16], "unreadable"))


def _clock(steps: Callable[[random.Random], float]) -> Kind:
    """The time of day is set while the jobs run."""

    def run(bench: Bench) -> Outcome:
        truth("tianyan")
        seed = bench.random.random()

        def prepare(built: Any) -> None:
            numbers = random.Random(seed)
            built.meter._clock = lambda: time.time() + steps(numbers)

        with _vendor(bench, FaultPlan()) as vendor:
            started = time.monotonic()
            children = [start(bench, vendor, "tianyan", clips, prepare) for clips in RANGES]
            for child in children:
                os.waitpid(child, 0)
            quick = time.monotonic() - started < 30
            outcome = _settle(bench, vendor, "tianyan", (), harmless=True)
            return Outcome(outcome.lost, outcome.noticed and quick, outcome.healed, outcome.paid_twice)

    return run


fault("clock: steps back a day")(_clock(lambda numbers: -86_400.0 * (numbers.random() < 0.5)))
fault("clock: steps ahead a year")(_clock(lambda numbers: 31_536_000.0 * (numbers.random() < 0.5)))
fault("clock: wobbles by seconds")(_clock(lambda numbers: numbers.uniform(-5, 5)))


@fault("disk full while answers are stored")
def _no_room(bench: Bench) -> Outcome:
    truth("tianyan")
    with small_disk(bench.folder / "disk", 400) as disk:
        (bench.folder / "answers").symlink_to(disk)
        with _vendor(bench, FaultPlan()) as vendor:
            found = os.statvfs(disk)
            room = bench.random.randrange(8 << 10, 40 << 10)
            (disk / "filler").write_bytes(bytes(found.f_bavail * found.f_frsize - room))
            for child in [start(bench, vendor, "tianyan", clips) for clips in RANGES]:
                os.waitpid(child, 0)
            (disk / "filler").unlink()
            return _settle(bench, vendor, "tianyan", ("No space left",))
