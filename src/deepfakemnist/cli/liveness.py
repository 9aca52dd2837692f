"""Command ``deepfakemnist liveness``: spend ledger, cost estimate, vendor simulator."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import yaml
from pydantic import ValidationError

from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.liveness import LivenessSettings, LocalSilentSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.liveness.costs import describe, estimate, pass_rates, read_usage, summarize_ledgers
from deepfakemnist.liveness.keys import SECRETS
from deepfakemnist.liveness.ledger import describe_doubt, forget, pack_answers, read_answers, read_doubts
from deepfakemnist.liveness.simulator.contract import KEYS, Contract
from deepfakemnist.liveness.simulator.faults import FAULTS, Fault, FaultPlan

_DEFAULT_PORT = 8731


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    ledger = commands.add_parser("ledger", help="spend and pass rates of all vendor answers")
    ledger.add_argument(
        "answers", type=Path, nargs="?", default=Path("results/liveness_answers"), help="folder (%(default)s)"
    )
    ledger.set_defaults(run=show_ledger)

    again = commands.add_parser(
        "forget",
        help="set answers or doubts aside, so that the next run asks and pays again",
        description="Sets answers without a verdict, questions in doubt, or single answers aside. The next run that "
        "needs them asks the vendor again, and pays again. The files stay, under another name, and counted as spent.",
    )
    again.add_argument("provider", choices=sorted(SECRETS), help="provider whose answers are meant")
    again.add_argument(
        "answers", type=Path, nargs="?", default=Path("results/liveness_answers"), help="folder (%(default)s)"
    )
    again.add_argument("--unreadable", action="store_true", help="all answers from which no verdict follows")
    again.add_argument("--in-doubt", action="store_true", help="all questions that may have been billed unanswered")
    again.add_argument("--key", nargs="+", default=[], help="keys, the names of the files without .json or .asked")
    again.set_defaults(run=forget_answers)

    pack = commands.add_parser(
        "pack",
        help="make few files of many answers",
        description="Packs the answers of each provider into up to 256 ZIP files, instead of a file per answer. The "
        "workflow and all commands read them there.",
    )
    pack.add_argument(
        "answers", type=Path, nargs="?", default=Path("results/liveness_answers"), help="folder (%(default)s)"
    )
    pack.set_defaults(run=pack_folder)

    plan = commands.add_parser("estimate", help="estimated cost and duration of a config's vendors")
    plan.add_argument("config", type=Path, help="YAML file with a liveness section")
    plan.add_argument("--clips", type=int, nargs="+", default=[10_000, 40_000], help="numbers of clips (%(default)s)")
    plan.set_defaults(run=show_estimate)

    serve = commands.add_parser(
        "simulate",
        help="simulate the vendors' APIs on this machine",
        description="Simulates Baidu, Tianyan and Linkface on the loopback address, backed by the local detectors. "
        "Given a command after --, runs it with the simulator's keys in its environment and exits with its status.",
    )
    serve.add_argument("--port", type=int, default=_DEFAULT_PORT, help="0 picks a free one (%(default)s)")
    serve.add_argument(
        "--witness", choices=("local", "hash"), default="local", help="back end: the local detectors, or a hash"
    )
    serve.add_argument(
        "--minifasnet", type=Path, nargs=2, metavar=("V2", "V1SE"), help="weights of local-silent, for passive liveness"
    )
    serve.add_argument("--qps", type=float, help="rate limit of each service, requests per second")
    serve.add_argument("--quota", type=int, help="quota of each service, total requests")
    serve.add_argument("--token-s", type=int, default=2_592_000, help="lifetime of Baidu's access token, seconds")
    serve.add_argument("--envelope", choices=("new", "old", "both"), default="both", help="Baidu's response envelope")
    serve.add_argument("--faults", type=float, default=0.0, help="share of requests with an injected fault, 0 to 1")
    serve.add_argument("--fault", choices=FAULTS, action="append", help="kind of fault; may be repeated (all kinds)")
    serve.add_argument("--seed", type=int, default=0, help="seed of the faults")
    serve.add_argument("--record", type=Path, help="file to append one JSON line per request to")
    serve.add_argument("words", nargs=argparse.REMAINDER, metavar="-- command", help="command to run meanwhile")
    serve.set_defaults(run=simulate)


def show_ledger(arguments: argparse.Namespace) -> int:
    """Print the spend per provider, the pass rate per action, and every question in doubt."""
    answers = _folder_of_answers(arguments)
    rows = []
    for one in summarize_ledgers(answers):
        usage, count = read_usage(answers, one.provider), max(one.answers, 1)
        share = 100 * one.live / max(one.answers - one.unreadable, 1)
        rows.append(
            (
                one.provider, one.answers, f"{share:.1f}", one.unreadable,
                f"{one.cost:.3f}", f"{usage.spent:.3f}", f"{usage.in_doubt:.3f}", one.open_doubts, one.in_doubt,
                f"{one.attempts / count:.2f}", f"{one.latency_s / count:.2f}",
            )
        )  # fmt: skip
    _print_table(
        (
            "provider", "answers", "live %", "unreadable", "cost", "metered", "in doubt", "unanswered", "lost before",
            "requests", "seconds",
        ),
        rows,
    )  # fmt: skip
    print()
    rates = pass_rates(answers)
    _print_table(
        ("provider", "action", "live", "answers", "%"),
        [(*key, live, total, f"{100 * live / total:.1f}") for key, (live, total) in rates.items()],
    )
    for doubt in read_doubts(answers):
        print(f"\nIn doubt: {describe_doubt(doubt, doubt['requests'])}\n  {doubt['key']}", end="")
    print()
    return 0


def forget_answers(arguments: argparse.Namespace) -> int:
    """Set answers or doubts of a provider aside."""
    answers, provider = _folder_of_answers(arguments), arguments.provider
    keys = set(arguments.key)
    if arguments.unreadable:
        keys |= {answer["key"] for answer in read_answers(answers, provider) if answer.get("live") is None}
    if arguments.in_doubt:
        keys |= {doubt["key"] for doubt in read_doubts(answers, provider)}
    if not all(re.fullmatch("[0-9a-f]{64}", key) for key in keys):
        raise ConfigError("--key takes names of answers: 64 digits and letters a to f, without .json or .asked")
    if not keys:
        print("nothing to set aside; say what: --unreadable, --in-doubt or --key")
        return 0
    count = forget(answers, provider, sorted(keys))
    print(f"{count} set aside; the next run that needs them asks {provider} again, and pays again")
    return 0


def pack_folder(arguments: argparse.Namespace) -> int:
    """Pack the answers; return 1 if some were left."""
    count, left = pack_answers(_folder_of_answers(arguments))
    print(f"{count} answers packed")
    for line in left:
        print(f"left: {line}")
    return int(bool(left))


def _folder_of_answers(arguments: argparse.Namespace) -> Path:
    answers: Path = arguments.answers
    if not answers.is_dir():
        raise ConfigError(f"{answers} is not a folder of vendor answers (liveness.answers in the config)")
    return answers


def show_estimate(arguments: argparse.Namespace) -> int:
    """Print estimated cost and duration of a config's vendors; sends nothing."""
    try:
        raw = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
        settings = LivenessSettings.model_validate(raw["liveness"])
    except OSError as error:
        raise ConfigError(f"cannot read {arguments.config} ({error.strerror})") from error
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{arguments.config} is not YAML with a liveness section") from error
    except ValidationError as error:
        raise ConfigError(f"{arguments.config}: {error}") from None
    names = [provider.provider for provider in settings.providers]
    lines = [describe(estimate(settings, dict.fromkeys(names, clips))) for clips in arguments.clips]
    print("\n".join(line for line in lines if line) or "no vendor is configured: nothing is sent, nothing is billed")
    return 0


def simulate(arguments: argparse.Namespace) -> int:
    """Serve the simulated vendors until interrupted, or while a command runs."""
    # Imported lazily, because they load the networks of the local detectors.
    from deepfakemnist.liveness.simulator.server import Simulator, running
    from deepfakemnist.liveness.simulator.witness import HashWitness, LocalWitness

    kinds: tuple[Fault, ...] = tuple(arguments.fault or get_args(Fault))
    contract = Contract(
        qps=arguments.qps, quota=arguments.quota, token_s=arguments.token_s, envelope=arguments.envelope,
        record=arguments.record, faults=FaultPlan(share=arguments.faults, kinds=kinds, seed=arguments.seed),
    )  # fmt: skip
    words: list[str] = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    with ExitStack() as stack:
        witness = HashWitness() if arguments.witness == "hash" else LocalWitness(_silent(arguments.minifasnet))
        simulator = Simulator(contract, witness)
        address = stack.enter_context(running(simulator, arguments.port))
        print(f"simulated vendors at {address}", flush=True)
        if words:
            status = _run(words)
        else:
            status = 0
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            stop.wait()
        billed = simulator.account.billed
        print(f"billed responses: {billed.total()}, for {len(billed)} distinct requests")
        return status


def _run(words: Sequence[str]) -> int:
    """Run a command with the simulator's keys in place of the user's own."""
    keys = {
        name: KEYS["id" if place == 0 else "secret"] for pair in SECRETS.values() for place, name in enumerate(pair)
    }
    try:
        return subprocess.run(words, env={**os.environ, **keys}, check=False).returncode
    except OSError as error:
        raise ConfigError(f"cannot run {words[0]!r} ({error.strerror})") from error


def _silent(paths: Sequence[Path] | None) -> LocalSilentSettings | None:
    if not paths:
        return None
    import hashlib

    files = []
    for path in paths:
        try:
            files.append(WeightFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
        except OSError as error:
            raise ConfigError(f"--minifasnet: cannot read {path} ({error.strerror})") from error
    return LocalSilentSettings(provider="local-silent", minifasnet_v2=files[0], minifasnet_v1se=files[1])


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
