"""Kills between question and answer: what each ``on_doubt`` is billed twice for, by the simulated vendor's own record.

    python benchmarks/doubt.py            prints the counts and writes benchmarks/doubt.json

Two jobs ask the same service about 150 clips, each in an order of its own. Thirty-six times one of them is killed with
SIGKILL at a random moment and restarted. The service takes 1 s to answer and counts what it bills. Checks: with
``reject`` and ``stop`` nothing is billed twice; with ``ask`` only questions that the ledger names as in doubt; every
clip has its verdict or is named; the meter counts at least what was billed.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np

from deepfakemnist.config.liveness import TianyanSettings, UploadSettings
from deepfakemnist.errors import Failed
from deepfakemnist.liveness.costs import read_usage
from deepfakemnist.liveness.keys import SECRETS
from deepfakemnist.liveness.ledger import OnDoubt, read_answers, read_doubts
from deepfakemnist.liveness.meter import StopRun
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.simulator.contract import KEYS, Contract
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.simulator.server import Simulator, running
from deepfakemnist.liveness.simulator.witness import HashWitness
from deepfakemnist.media.pixels import pixels_sha256

CLIPS, KILLS, JOBS = 150, 36, 2
DECISIONS: tuple[OnDoubt, ...] = ("ask", "reject", "stop")
STOPPED = 3
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["deepfakemnist.liveness.registry", "deepfakemnist.liveness.baidu", "cv2"])


def small_clip(number: int) -> Clip:
    """Return a clip of noise, seeded by ``number``."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    return Clip(noise, 25.0, pixels_sha256(noise), f"clip {number}")


def job(address: str, answers: Path, on_doubt: OnDoubt, seed: int) -> int:
    """Check every clip, in an order given by ``seed``; return STOPPED if a question in doubt stopped the run."""
    settings = TianyanSettings(
        provider="tianyan", base_url=address, qps=1000, on_doubt=on_doubt,
        upload=UploadSettings(min_side=32, min_seconds=0.2),
    )  # fmt: skip
    provider = build(settings, {"blink": "BLINK"}, answers)
    Path(answers.parent, f"{os.getpid()}.started").touch()
    numbers = list(range(CLIPS))
    random.Random(seed).shuffle(numbers)
    # Who stops at a doubt looks at the bill first, and goes on with the other clips.
    open_doubts = {one["pixels_sha256"] for one in read_doubts(answers)} if on_doubt == "stop" else set()
    for number in numbers:
        clip = small_clip(number)
        if clip.pixels_sha256 in open_doubts:
            continue
        try:
            provider.check(clip, "blink")
        except Failed as error:
            if error.reason != "in_doubt":
                raise
        except StopRun:
            return STOPPED
    return 0


def start(address: str, answers: Path, on_doubt: OnDoubt, seed: int) -> ForkServerProcess:
    """Start a job as a separate process, from a server that has everything imported."""
    process = CONTEXT.Process(target=_job, args=(address, answers, on_doubt, seed))
    process.start()
    return process


def _job(address: str, answers: Path, on_doubt: OnDoubt, seed: int) -> None:
    for pair in SECRETS.values():
        for number, name in enumerate(pair):
            os.environ[name] = KEYS["id" if number == 0 else "secret"]
    logging.disable(logging.WARNING)
    sys.exit(job(address, answers, on_doubt, seed))


def measure(on_doubt: OnDoubt, seed: int) -> dict[str, float]:
    """Run all clips under kills; return the counts."""
    rng, stops, seeds = random.Random(seed), 0, iter(range(1000 * seed, 1000 * seed + 1000))
    plan = FaultPlan(share=1.0, kinds=("slow",), slow_s=1.0)
    with tempfile.TemporaryDirectory() as name:
        answers = Path(name, "answers")
        simulator = Simulator(Contract(faults=plan), HashWitness())
        with running(simulator) as address:
            jobs = [start(address, answers, on_doubt, next(seeds)) for _ in range(JOBS)]
            kills = 0
            while kills < KILLS:
                place = rng.randrange(JOBS)
                wanted = 0.9 * CLIPS * (kills + 1) / (KILLS + 1)
                while len(simulator.account.billed) < wanted and jobs[place].exitcode is None:
                    time.sleep(0.01)
                while jobs[place].exitcode is None and not Path(name, f"{jobs[place].pid}.started").exists():
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 0.6))
                jobs[place].kill()
                jobs[place].join()
                kills += jobs[place].exitcode == -signal.SIGKILL
                stops += jobs[place].exitcode == STOPPED
                jobs[place] = start(address, answers, on_doubt, next(seeds))
            for one in jobs:
                one.join()
                stops += one.exitcode == STOPPED
            while True:
                last = start(address, answers, on_doubt, next(seeds))
                last.join()
                if last.exitcode != STOPPED:
                    break
                stops += 1
        billed = simulator.account.billed
        stored, doubts = list(read_answers(answers)), list(read_doubts(answers))
        usage = read_usage(answers, "tianyan")
    price = TianyanSettings(provider="tianyan").price
    return {
        "kills": KILLS,
        "clips": CLIPS,
        "verdicts": len(stored),
        "named_as_in_doubt": len(doubts) + sum(one["in_doubt"] > 0 for one in stored),
        "clips_without_a_verdict": len(doubts),
        "billed": billed.total(),
        "billed_twice": sum(times > 1 for times in billed.values()),
        "billed_twice_and_not_named": max(billed.total() - len(billed) - sum(one["in_doubt"] for one in stored), 0),
        "stops": stops,
        "counted_as_spent": round(usage.spent / price, 2),
    }


def main(out: Path) -> None:
    """Measure every ``on_doubt``, print the counts and write them to ``out``."""
    results = {}
    for seed, on_doubt in enumerate(DECISIONS, start=1):
        results[on_doubt] = measure(on_doubt, seed)
        print(on_doubt, results[on_doubt], flush=True)
    what = f"{CLIPS} clips, {JOBS} jobs, {KILLS} times kill -9 at random moments; 1 s per answer"
    text = json.dumps({"what": what, **results}, indent=2)
    print(text)
    out.write_text(text + "\n", encoding="utf-8")
    good = all(
        one["verdicts"] + one["clips_without_a_verdict"] == CLIPS
        and one["counted_as_spent"] >= one["billed"]
        and one["billed_twice_and_not_named"] == 0
        for one in results.values()
    )
    sys.exit(0 if good and results["reject"]["billed_twice"] == results["stop"]["billed_twice"] == 0 else 1)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    main(Path(__file__).with_suffix(".json"))
