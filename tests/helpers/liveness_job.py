"""Liveness job as a separate process, to run in parallel and to kill: checks small clips with one provider.

    python liveness_job.py PROVIDER ADDRESS ANSWERS ACTION QPS FIRST LAST RESULTS ON_DOUBT

Writes one JSON line per clip to RESULTS: its number, verdict and score, or its number, null and the reason of failure.
"""

import json
import sys
from pathlib import Path

from simulated_vendors import MOTIONS, settings_for, small_clip

from deepfakemnist.errors import Failed
from deepfakemnist.liveness import client
from deepfakemnist.liveness.registry import build


def main(provider, address, answers, action, qps, first, last, results, on_doubt):
    client._FIRST_BACKOFF_S = 0.02  # a simulated vendor needs no time to recover
    settings = settings_for(provider, address, qps=float(qps), attempts=10, read_timeout_s=1.5, on_doubt=on_doubt)
    built = build(settings, MOTIONS[provider], Path(answers))
    with Path(results).open("w", encoding="utf-8") as file:
        for number in range(int(first), int(last)):
            try:
                verdict = built.check(small_clip(number), action)
                line = [number, verdict.live, verdict.score]
            except Failed as error:
                line = [number, None, error.reason]
            file.write(json.dumps(line) + "\n")
            file.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
