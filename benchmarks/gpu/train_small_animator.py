"""Time-boxed training of a small animator on rendered actors, on one GPU.

    PYTHONPATH=src python benchmarks/gpu/train_small_animator.py --minutes 9 --out DIR

Actors are rendered on the CPU cores while the GPU trains (``render_farm``, ``look_pool``), and images are augmented on
the GPU (``domain_randomisation``); networks, losses, steps and states are those of the workflow's training. The
learning rate decays to zero over time, not steps, so training ends on schedule on any GPU. A killed call loses at most
``--save-every`` seconds: repeat it to resume. Outputs in DIR, each below 16 MB:

    checkpoint.safetensors    averaged weights, float16, for ``load_checkpoint`` and the setting ``animator.weights``
    training.json             settings, steps, seconds, losses, looks and images rendered, GPU, held-out error
    samples.png               pairs of held-out looks: source, driver, animation, occlusion, cross-identity transfer
    transfer.png              transfer between unseen looks: driver, below it source and animation
    train.log

The training state, which is larger, is in ``--work``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path

_STARTED = time.monotonic()
_HERE = Path(__file__).resolve().parent


def main() -> int:
    """Train, write the outputs, and return the exit status: 143 when stopped by a signal before the end."""
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(sys.stdout), logging.FileHandler(arguments.out / "train.log")],
    )
    # Set before numpy is imported: with one BLAS thread per core each, renderers would compete for the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from small_animator_run import Plan, train_small_animator
    from small_animator_settings import read_settings

    settings = read_settings(arguments.settings, arguments.set, arguments.start_from)
    plan = Plan(
        out=arguments.out,
        work=arguments.work or arguments.out.with_name(f"{arguments.out.name}.work"),
        seconds=60 * arguments.minutes,
        started_at=_STARTED,
        workers=arguments.workers,
        save_every=arguments.save_every,
        log_every=arguments.log_every,
    )
    return 0 if train_small_animator(settings, plan, arguments.device) else 143  # status of a process ended by SIGTERM


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--minutes", type=float, default=9.0, help="total run time over all calls")
    parser.add_argument("--work", type=Path, help="folder of the training state; default: OUT.work")
    parser.add_argument("--settings", type=Path, default=_HERE / "small_animator.yaml")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="override settings, e.g. animator.train.adversarial=1"
    )
    parser.add_argument("--start-from", type=Path, help="initial weights, e.g. of an earlier call whose state is lost")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="rendering processes")
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between saved states")
    parser.add_argument("--log-every", type=int, default=50, help="steps between log and record entries")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
