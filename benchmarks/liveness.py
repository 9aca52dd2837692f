"""Reliability benchmark of the liveness client: 2,000 calls by four jobs, with injected faults and SIGKILL.

    python benchmarks/liveness.py            prints the table and writes benchmarks/liveness.json

A thousand clips are sent to two services each, simulated on this machine; one request in ten has a fault. A job queries
one service and two jobs share one, starting at different clips, so that both need every answer. Three times one of the
jobs is killed with SIGKILL and restarted. The simulator answers from hashes of the uploads, has the same rate limit as
the jobs' meter, logs every request and counts what it bills. Checks: every verdict is the simulator's for these very
bytes; nothing was billed twice except calls that a kill interrupted and that the ledger records; and the busiest second
of each service.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepfakemnist.config.liveness import (
    BaiduSettings,
    LivenessSettings,
    TianyanSettings,
    UploadSettings,
    VendorSettings,
)
from deepfakemnist.liveness import client
from deepfakemnist.liveness.costs import describe, estimate, read_usage
from deepfakemnist.liveness.keys import SECRETS
from deepfakemnist.liveness.ledger import read_answers
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.simulator.contract import KEYS, Contract
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.simulator.server import Simulator, running
from deepfakemnist.liveness.simulator.witness import HashWitness, Observation
from deepfakemnist.liveness.upload import encode_clip
from deepfakemnist.media.pixels import pixels_sha256

CLIPS, QPS, FAULTS, KILLS = 1000, 20.0, 0.1, 3
JOBS = (("baidu", 0.0), ("baidu", 0.5), ("tianyan", 0.0), ("tianyan", 0.5))
#: Motions of the two actions; Baidu needs a session code for a motion and runs passive liveness without one.
MOTIONS = {"baidu": {"blink": "0", "smile": ""}, "tianyan": {"blink": "BLINK", "smile": "YAW"}}
PATHS = {"baidu": "/rest/2.0/face/v1/faceliveness/", "tianyan": "/v2/life/check"}
#: Number of clips encoded again, to compare the bytes with the uploads in the ledger.
SAMPLE = 40


class RecordingWitness(HashWitness):
    """A HashWitness that records its observation of every upload."""

    def __init__(self) -> None:
        self.observations: dict[str, Observation] = {}

    def video(self, data: bytes, motions: list[str]) -> Observation:
        """Analyse a video."""
        seen = super().video(data, motions)
        digest = hashlib.sha256(data).hexdigest()
        known = self.observations.get(digest)
        merged = seen.motions if known is None else known.motions | seen.motions
        self.observations[digest] = replace(seen, motions=merged)
        return seen


def small_clip(number: int) -> Clip:
    """Return a clip of noise, seeded by ``number``."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    return Clip(noise, 25.0, pixels_sha256(noise))


def action_of(number: int) -> str:
    """Return the action of a clip."""
    return ("smile", "blink")[number % 2]


def settings_for(provider: str, address: str) -> VendorSettings:
    """Return the settings of a service, with more attempts than the default, because faults cost no time here."""
    common = {
        "base_url": address, "qps": QPS, "attempts": 12, "read_timeout_s": 2.0, "on_doubt": "ask",
        "upload": UploadSettings(min_side=32, min_seconds=0.2),
    }  # fmt: skip
    if provider == "baidu":
        return BaiduSettings(provider="baidu", **common)
    return TianyanSettings(provider="tianyan", **common)


def job(provider: str, address: str, answers: Path, first: int, clips: int, out: Path) -> None:
    """Check every clip with one service, starting at ``first``; write one line per verdict."""
    client._FIRST_BACKOFF_S = 0.05
    built = build(settings_for(provider, address), MOTIONS[provider], answers)
    with out.open("w", encoding="utf-8") as file:
        for number in (*range(first, clips), *range(first)):
            verdict = built.check(small_clip(number), action_of(number))
            file.write(json.dumps([number, verdict.live, verdict.score]) + "\n")
            file.flush()


def start(place: int, address: str, folder: Path, clips: int) -> subprocess.Popen[bytes]:
    """Start a job as a separate process."""
    provider, share = JOBS[place]
    words = ["--job", provider, address, folder / "answers", int(share * clips), clips, folder / f"{place}.jsonl"]
    keys = {
        name: KEYS["id" if number == 0 else "secret"] for pair in SECRETS.values() for number, name in enumerate(pair)
    }
    return subprocess.Popen([sys.executable, __file__, *map(str, words)], env={**os.environ, **keys})


def expected(provider: str, number: int, upload: str, observations: dict[str, Observation]) -> tuple[bool, float]:
    """Return the verdict that follows from the simulator's observation of an upload."""
    seen = observations[upload]
    motion = MOTIONS[provider][action_of(number)]
    if provider == "baidu":
        return seen.live > 0.3 and (not motion or seen.motions[motion] >= 1), seen.live
    score = min(seen.motions[motion] * {"BLINK": 0.2, "YAW": 0.1}[motion], 1.0)
    return score >= {"BLINK": 0.2, "YAW": 0.1}[motion], score


def busiest_second(times: list[float]) -> int:
    """Return the largest number of requests within any second."""
    times, most, first = sorted(times), 0, 0
    for last, moment in enumerate(times):
        while times[first] <= moment - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def main(clips: int, out: Path | None) -> None:
    """Run the benchmark, print the result and write it to ``out``."""
    both = {"providers": [{"provider": "local-action"}, {"provider": "tianyan"}, {"provider": "baidu"}]}
    settings, paid = LivenessSettings.model_validate(both), ("tianyan", "baidu")
    estimates = [describe(estimate(settings, dict.fromkeys(paid, calls))) for calls in (10_000, 40_000)]
    print("\n".join(estimates))
    witness, rng = RecordingWitness(), random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = folder / "record.jsonl"
        plan = FaultPlan(share=FAULTS, seed=3, hang_s=2.5, slow_s=0.3)
        simulator = Simulator(Contract(qps=QPS, faults=plan, record=record), witness)
        began = time.monotonic()
        with running(simulator) as address:
            jobs = [start(place, address, folder, clips) for place in range(len(JOBS))]
            for kill in range(1, KILLS + 1):
                while len(list(read_answers(folder / "answers"))) < 2 * clips * kill / (KILLS + 1):
                    time.sleep(0.5)
                running_jobs = [place for place, one in enumerate(jobs) if one.poll() is None]
                place = rng.choice(running_jobs)
                jobs[place].send_signal(signal.SIGKILL)
                jobs[place].wait()
                jobs[place] = start(place, address, folder, clips)
            statuses = [one.wait() for one in jobs]
        seconds = time.monotonic() - began
        answers = list(read_answers(folder / "answers"))
        result = compare(simulator, answers, record, folder, witness, clips)
        result = {
            "what": f"{2 * clips} calls of two simulated services by {len(JOBS)} jobs, {FAULTS:.0%} of requests with "
            f"faults, {KILLS} times kill -9",
            "estimates": "\n".join(estimates).splitlines(),
            **result,
            "exit_statuses": statuses,
            "seconds": round(seconds),
        }
    print(json.dumps(result, indent=2))
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    good = (result["calls"], result["right"], result["billed_again_unexplained"]) == (2 * clips, 2 * clips, 0)
    sys.exit(0 if good and max(result["busiest_second"].values()) <= QPS else 1)


def compare(
    simulator: Simulator, answers: list[dict], record: Path, folder: Path, witness: RecordingWitness, clips: int
) -> dict[str, object]:
    """Compare verdicts, bills and request times of jobs, ledger and simulator."""
    upload_of = {(one["provider"], one["pixels_sha256"]): one["upload_sha256"] for one in answers}
    verdicts: dict[tuple[str, int], set[tuple[bool, float]]] = {}
    for place, (provider, _) in enumerate(JOBS):
        for line in (folder / f"{place}.jsonl").read_text().splitlines():
            number, live, score = json.loads(line)
            verdicts.setdefault((provider, number), set()).add((live, score))
    right = 0
    for number in range(clips):
        pixels = small_clip(number).pixels_sha256
        for provider in MOTIONS:
            truth = expected(provider, number, upload_of[provider, pixels], witness.observations)
            right += verdicts.get((provider, number)) == {truth}
    limits = settings_for("baidu", "http://127.0.0.1").upload
    encoded = [encode_clip(small_clip(number), limits).sha256 for number in range(0, clips, max(clips // SAMPLE, 1))]
    requests = [json.loads(line) for line in record.read_text().splitlines()]
    billed = simulator.account.billed
    again = billed.total() - len(billed)
    in_doubt = sum(one["in_doubt"] for one in answers)
    return {
        "calls": len(verdicts),
        "right": right,
        "uploads_encoded_again_to_the_same_bytes": sum(one in witness.observations for one in encoded) / len(encoded),
        "answers_in_the_ledger": len(answers),
        "questions_billed": len(billed),
        "billed_again": again,
        "in_doubt": in_doubt,
        "billed_again_unexplained": max(again - in_doubt, 0),
        "requests": len(requests),
        "faults": dict(sorted(Counter(one["fault"] for one in requests if one["fault"]).items())),
        "qps": QPS,
        "busiest_second": {
            provider: busiest_second([one["time"] for one in requests if one["path"].startswith(path)])
            for provider, path in PATHS.items()
        },
        "metered": {provider: round(read_usage(folder / "answers", provider).spent, 2) for provider in MOTIONS},
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--clips", type=int, default=CLIPS, help="number of clips, each sent to two services (%(default)s)"
    )
    parser.add_argument("--job", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        provider, address, answers, first, clips, out = arguments.job
        job(provider, address, Path(answers), int(first), int(clips), Path(out))
    else:
        complete = arguments.clips == CLIPS
        main(arguments.clips, Path(__file__).with_suffix(".json") if complete else None)
