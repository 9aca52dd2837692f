"""Two thousand calls of liveness services by four jobs that are killed, while one request in ten goes wrong.

    python benchmarks/liveness.py            prints the table and writes benchmarks/liveness.json

A thousand clips are put to two services each, simulated on this machine. A job asks one service and two jobs share one,
each beginning at another clip, so that both meet every question. Three times one of them is killed with SIGKILL and
started again. The simulator decides by hashes of what was uploaded, grants what the jobs' meter grants, writes down
every request and counts what it bills. Checked: every verdict is the simulator's about these very bytes; no question
was billed twice, but for calls that a kill cut off and that the ledger names; and the busiest second of each service.
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
from deepfakemnist.liveness.costs import describe, estimate, metered
from deepfakemnist.liveness.keys import SECRETS
from deepfakemnist.liveness.ledger import read_answers
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.liveness.registry import build
from deepfakemnist.liveness.simulator.contract import KEYS, Contract
from deepfakemnist.liveness.simulator.faults import FaultPlan
from deepfakemnist.liveness.simulator.server import Simulator, running
from deepfakemnist.liveness.simulator.witness import HashWitness, Seen
from deepfakemnist.liveness.upload import encode_clip
from deepfakemnist.media.pixels import pixels_sha256

CLIPS, QPS, FAULTS, KILLS = 1000, 20.0, 0.1, 3
JOBS = (("baidu", 0.0), ("baidu", 0.5), ("tianyan", 0.0), ("tianyan", 0.5))
#: What every other clip is asked for; Baidu draws random codes for a motion, and looks silently without.
MOTIONS = {"baidu": {"blink": "0", "smile": ""}, "tianyan": {"blink": "BLINK", "smile": "YAW"}}
PATHS = {"baidu": "/rest/2.0/face/v1/faceliveness/", "tianyan": "/v2/life/check"}
#: So many clips are encoded once more, to hold the bytes of the ledger against them.
SAMPLE = 40


class Remembering(HashWitness):
    """Keeps what it said about every upload."""

    def __init__(self) -> None:
        self.said: dict[str, Seen] = {}

    def video(self, data: bytes, motions: list[str]) -> Seen:
        """Look at a video."""
        seen = super().video(data, motions)
        digest = hashlib.sha256(data).hexdigest()
        known = self.said.get(digest)
        self.said[digest] = seen if known is None else Seen(**{**vars(seen), "motions": known.motions | seen.motions})
        return seen


def small_clip(number: int) -> Clip:
    """Return a clip of noise, the same for the same number."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    return Clip(noise, 25.0, pixels_sha256(noise))


def action_of(number: int) -> str:
    """Return what a clip is asked for."""
    return ("smile", "blink")[number % 2]


def settings_for(provider: str, address: str) -> VendorSettings:
    """Return what both services are told; more attempts than the default, because a fault costs no time here."""
    common = {
        "base_url": address, "qps": QPS, "attempts": 12, "read_timeout_s": 2.0,
        "upload": UploadSettings(min_side=32, min_seconds=0.2),
    }  # fmt: skip
    if provider == "baidu":
        return BaiduSettings(provider="baidu", **common)
    return TianyanSettings(provider="tianyan", **common)


def job(provider: str, address: str, answers: Path, first: int, clips: int, out: Path) -> None:
    """Ask one service about every clip, beginning with ``first``; write a line per verdict."""
    client._FIRST_WAIT_S = 0.05
    built = build(settings_for(provider, address), MOTIONS[provider], answers)
    with out.open("w", encoding="utf-8") as file:
        for number in (*range(first, clips), *range(first)):
            verdict = built.check(small_clip(number), action_of(number))
            file.write(json.dumps([number, verdict.live, verdict.score]) + "\n")
            file.flush()


def start(place: int, address: str, folder: Path, clips: int) -> subprocess.Popen[bytes]:
    """Start a job as a process of its own."""
    provider, share = JOBS[place]
    words = ["--job", provider, address, folder / "answers", int(share * clips), clips, folder / f"{place}.jsonl"]
    keys = {
        name: KEYS["id" if number == 0 else "secret"] for pair in SECRETS.values() for number, name in enumerate(pair)
    }
    return subprocess.Popen([sys.executable, __file__, *map(str, words)], env={**os.environ, **keys})


def expected(provider: str, number: int, upload: str, said: dict[str, Seen]) -> tuple[bool, float]:
    """Return the verdict that follows from what the simulator said about an upload."""
    seen = said[upload]
    motion = MOTIONS[provider][action_of(number)]
    if provider == "baidu":
        return seen.live > 0.3 and (not motion or seen.motions[motion] >= 1), seen.live
    score = min(seen.motions[motion] * {"BLINK": 0.2, "YAW": 0.1}[motion], 1.0)
    return score >= {"BLINK": 0.2, "YAW": 0.1}[motion], score


def busiest_second(times: list[float]) -> int:
    """Return the most requests within any second."""
    times, most, first = sorted(times), 0, 0
    for last, moment in enumerate(times):
        while times[first] <= moment - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def main(clips: int, out: Path | None) -> None:
    """Run it, print what was seen and write it down."""
    both = {"providers": [{"provider": "local-action"}, {"provider": "tianyan"}, {"provider": "baidu"}]}
    estimates = [describe(estimate(LivenessSettings.model_validate(both), calls)) for calls in (10_000, 40_000)]
    print("\n".join(estimates))
    witness, dice = Remembering(), random.Random(1)
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
                place = dice.choice(running_jobs)
                jobs[place].send_signal(signal.SIGKILL)
                jobs[place].wait()
                jobs[place] = start(place, address, folder, clips)
            statuses = [one.wait() for one in jobs]
        seconds = time.monotonic() - began
        answers = list(read_answers(folder / "answers"))
        result = look(simulator, answers, record, folder, witness, clips)
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


def look(
    simulator: Simulator, answers: list[dict], record: Path, folder: Path, witness: Remembering, clips: int
) -> dict[str, object]:
    """Hold verdicts, bills and times against each other."""
    upload_of = {(one["provider"], one["pixels_sha256"]): one["upload_sha256"] for one in answers}
    told: dict[tuple[str, int], set[tuple[bool, float]]] = {}
    for place, (provider, _) in enumerate(JOBS):
        for line in (folder / f"{place}.jsonl").read_text().splitlines():
            number, live, score = json.loads(line)
            told.setdefault((provider, number), set()).add((live, score))
    right = 0
    for number in range(clips):
        pixels = small_clip(number).pixels_sha256
        for provider in MOTIONS:
            truth = expected(provider, number, upload_of[provider, pixels], witness.said)
            right += told.get((provider, number)) == {truth}
    limits = settings_for("baidu", "http://127.0.0.1").upload
    encoded = [encode_clip(small_clip(number), limits).sha256 for number in range(0, clips, max(clips // SAMPLE, 1))]
    requests = [json.loads(line) for line in record.read_text().splitlines()]
    billed = simulator.books.billed
    again = billed.total() - len(billed)
    in_doubt = sum(one["in_doubt"] for one in answers)
    return {
        "calls": len(told),
        "right": right,
        "uploads_encoded_again_to_the_same_bytes": sum(one in witness.said for one in encoded) / len(encoded),
        "answers_in_the_ledger": len(answers),
        "questions_billed": len(billed),
        "billed_again": again,
        "cut_off_by_a_kill": in_doubt,
        "billed_again_unexplained": max(again - in_doubt, 0),
        "requests": len(requests),
        "faults": dict(sorted(Counter(one["fault"] for one in requests if one["fault"]).items())),
        "qps": QPS,
        "busiest_second": {
            provider: busiest_second([one["time"] for one in requests if one["path"].startswith(path)])
            for provider, path in PATHS.items()
        },
        "metered": {provider: round(metered(folder / "answers", provider).spent, 2) for provider in MOTIONS},
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=CLIPS, help="each is put to two services (%(default)s)")
    parser.add_argument("--job", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        provider, address, answers, first, clips, out = arguments.job
        job(provider, address, Path(answers), int(first), int(clips), Path(out))
    else:
        complete = arguments.clips == CLIPS
        main(arguments.clips, Path(__file__).with_suffix(".json") if complete else None)
