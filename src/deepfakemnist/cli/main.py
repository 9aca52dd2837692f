"""Entry point of the command ``deepfakemnist``: tools that complement the Snakemake workflow.

Each subcommand is a module listed in ``COMMANDS``, imported only when it runs, that defines::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...   # with set_defaults(run=function of the arguments)

The function returns the exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import printable
from deepfakemnist.machine_errors import machine_error

#: Subcommand → its module in this package, and its help.
COMMANDS: dict[str, tuple[str, str]] = {
    "animator": ("animator", "say what a weight file of an animator is; pack it"),
    "compare": ("compare", "compare two tables of predictions"),
    "disk": ("disk", "predict the disk space of a run"),
    "gc": ("gc", "remove what a run does not need any more"),
    "import": ("import_", "import a released dataset into a manifest"),
    "liveness": ("liveness", "answers and costs of liveness providers; simulated providers"),
    "manifest": ("manifest", "check a dataset's manifest against the files on disk"),
    "marks": ("marks", "show the synthetic-media marks of files"),
    "orphans": ("orphans", "list and remove results that the run no longer plans"),
    "plan": ("plan", "export the pairs that are rendered elsewhere"),
    "predict": ("predict", "score videos with a trained detector"),
    "release": ("release", "write a release folder"),
    "repair": ("repair", "have damaged results made again, and nothing else"),
    "retry": ("retry", "try failed videos again, once their cause is gone"),
    "study": ("study", "have people rate clips of the dataset, and analyse their answers"),
    "train": ("train", "train one detector, on several GPUs with torchrun"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status: 0 success, 1 an error the user can fix, 2 a usage error."""
    words = list(sys.argv[1:] if words is None else words)
    parser = argparse.ArgumentParser(prog="deepfakemnist", description="Tools that complement the workflow.")
    commands = parser.add_subparsers(dest="group", required=True, metavar="command")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if words[:1] == [name]:
            import_module(f"deepfakemnist.cli.{module}").add_arguments(command)
    # A command after --run is not ours: argparse would take its "--" for its own.
    ours = words.index("--run") + 1 if "--run" in words else len(words)
    arguments = parser.parse_args(words[:ours])
    if ours < len(words):
        arguments.snakemake = words[ours:]
    try:
        return int(arguments.run(arguments))
    except ConfigError as error:
        print(f"deepfakemnist: {printable(str(error))}", file=sys.stderr)
        return 1
    except Exception as error:
        if (found := machine_error(error)) is None:
            raise
        print(f"deepfakemnist: {printable(str(found))}", file=sys.stderr)
        return 1
