"""Fuzzing guided by coverage, of one target of fuzz.py: python tests/fuzz/fuzz_guided.py TARGET --seconds 300.

libFuzzer keeps the inputs that reach new code of the package and mutates those. It needs Atheris (pip install atheris;
Linux and macOS), which is not among the locked packages, because nothing else does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["deepfakemnist"]):
    from fuzz import TARGETS, Session

#: Longest input, bytes; the seeds are shorter, but for videos.
_LONGEST = 100_000


def main() -> None:
    """Fuzz the target until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz_findings"))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    session = Session(given.target, folder, given.out)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(session.target.seeds):
        (corpus / str(number)).write_bytes(seed)
    end = time.monotonic() + given.seconds

    def give(data: bytes) -> None:
        session.give(data)
        if time.monotonic() > end:  # libFuzzer would end the process without a word
            kept = len(list(corpus.iterdir()))
            print(f"{given.target}: {kept} inputs kept for the code that they reach")
            found = session.report()
            shutil.rmtree(folder)
            os._exit(found > 0)

    limits = [f"-seed={given.seed}", f"-max_len={_LONGEST}", "-rss_limit_mb=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(corpus), *limits], give)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
