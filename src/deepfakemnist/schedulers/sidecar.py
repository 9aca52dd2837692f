"""Process beside a run of Snakemake, which cancels the run's jobs when it ends before them.

Snakemake's executors cancel the jobs of an interrupted run, but not those whose state they ask for at that moment: with
many jobs, that is nearly always. The executor cluster-generic starts this process before the first job and ends it with
SIGTERM after the last, or when it is interrupted. After SIGKILL of Snakemake nothing is cancelled: the jobs end well,
and the next run takes over what they made.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from collections.abc import Sequence

from deepfakemnist.schedulers import records
from deepfakemnist.schedulers.commands import cancel

#: Seconds before each attempt to cancel; the scheduler may be away at the first.
WAITS_S = (0.0, 5.0)
#: Seconds for an attempt. Snakemake waits for this process.
_CANCEL_S = 20.0
_WATCH_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: linux/siginfo.h: sent by the kernel, here for Ctrl-C in the terminal.
_SI_KERNEL = 0x80


def main() -> int:
    """Print the run's file, wait for the end of the run, and cancel what it leaves, unless it was killed."""
    snakemake = os.getppid()
    # Ctrl-C reaches this process, too, and so does the end of a session.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    run = (records.FOLDER / f"{uuid.uuid4().hex}.run").absolute()
    run.parent.mkdir(parents=True, exist_ok=True)
    run.touch()
    print(run, flush=True)
    interrupted = _was_interrupted(snakemake)
    # From here on, jobs whose submission is under way are cancelled by the submitting process.
    run.unlink(missing_ok=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, before - {signal.SIGINT})
    if interrupted:
        cancel_all(str(run))
    return 0


def cancel_all(run: str, waits_s: Sequence[float] = WAITS_S) -> None:
    """Cancel the jobs of a run that have not ended, and name those that the scheduler does not cancel."""
    for wait_s in waits_s:
        if not (left := records.unfinished(run)):
            return
        time.sleep(wait_s)
        cancel(left, _CANCEL_S)
    if left := records.unfinished(run):
        print(f"The scheduler did not confirm that these jobs are cancelled: {' '.join(left)}", file=sys.stderr)


def _was_interrupted(snakemake: int) -> bool:
    """Wait until Snakemake ends this process, True, or is gone: True only after Ctrl-C in its terminal."""
    at_terminal = False
    while os.getppid() == snakemake:
        got = signal.sigtimedwait(_SIGNALS, _WATCH_S)
        if got is None:
            continue
        # SIGTERM of somebody else goes to Snakemake as well, which then waits for its jobs.
        if got.si_signo == signal.SIGTERM and got.si_pid == snakemake:
            return True
        at_terminal |= got.si_signo == signal.SIGINT and got.si_code == _SI_KERNEL
    return at_terminal
