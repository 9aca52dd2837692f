"""Train a small animator on rendered actors in the minutes that one GPU is at hand.

    PYTHONPATH=src python benchmarks/gpu/train_small_animator.py --minutes 9 --out DIR

Actors are rendered on the CPU cores while the GPU trains (``render_farm``, ``look_pool``), pictures are perturbed on
the GPU (``random_pictures``); networks, losses, steps and states are those of the workflow's own training. The learning
rate falls to zero by time, not by steps, so that the training is done when the minutes are over, whatever the card.
A call that is killed loses at most ``--save-every`` seconds: the same call goes on. In DIR, each below 16 MB:

    checkpoint.safetensors    averaged weights, float16; ``load_checkpoint`` reads them, ``animator.weights`` takes them
    training.json             settings, steps, seconds, losses, looks and pictures rendered, card, held-out error
    samples.png               pairs of held-out looks: source, driver, animation, occlusion, another person moved
    transfer.png              looks that were not trained on, moved by others: driver, below it source and animation
    train.log

The state, which is larger, lies in ``--work``.
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
    """Train, write the files, and return the exit status: 143 when it was told to stop before it was done."""
    arguments = parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(sys.stdout), logging.FileHandler(arguments.out / "train.log")],
    )
    # Before numpy is loaded: renderers with a thread for every core each would wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from small_animator_run import Plan, train_small_animator
    from small_animator_settings import read_settings

    settings = read_settings(arguments.settings, arguments.set, arguments.start_from)
    plan = Plan(
        out=arguments.out,
        work=arguments.work or arguments.out.with_name(f"{arguments.out.name}.work"),
        seconds=60 * arguments.minutes,
        began=_STARTED,
        workers=arguments.workers,
        save_every=arguments.save_every,
        log_every=arguments.log_every,
    )
    return 0 if train_small_animator(settings, plan, arguments.device) else 143  # as after SIGTERM


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--minutes", type=float, default=9.0, help="the whole command, over all calls")
    parser.add_argument("--work", type=Path, help="folder for the state; default: OUT with .work at its end")
    parser.add_argument("--settings", type=Path, default=_HERE / "small_animator.yaml")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="other settings, e.g. animator.train.adversarial=1"
    )
    parser.add_argument(
        "--start-from", type=Path, help="weights to begin with, e.g. of an earlier call whose state is lost"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="processes that render actors"
    )
    parser.add_argument("--save-every", type=float, default=60.0, help="seconds between states")
    parser.add_argument("--log-every", type=int, default=50, help="steps between entries of the log and the record")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
