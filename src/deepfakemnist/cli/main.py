"""The command ``deepfakemnist``: what helps beside the workflow.

A group of subcommands lives in a module of its own, imported only when it is asked for, that offers::

    def add_arguments(parser: argparse.ArgumentParser) -> None: ...   # with set_defaults(run=function of the arguments)

and stands in ``GROUPS``. The function returns the exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from deepfakemnist.errors import ConfigError

#: Name of a group → its module in this package, and what it is for.
GROUPS: dict[str, tuple[str, str]] = {
    "compare": ("compare", "compare two tables of predictions"),
    "import": ("import_", "released datasets as manifests"),
    "liveness": ("liveness", "what vendors answered and cost; simulated vendors"),
    "manifest": ("manifest", "check a dataset against the disk"),
    "marks": ("marks", "what files say of themselves"),
    "predict": ("predict", "score videos with a trained detector"),
    "release": ("release", "write a release folder"),
    "train": ("train", "train one detector, on several GPUs by torchrun"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status: 0 done, 1 an error the user can mend, 2 a wrong command line."""
    words = list(sys.argv[1:] if words is None else words)
    parser = argparse.ArgumentParser(prog="deepfakemnist", description="What helps beside the workflow.")
    groups = parser.add_subparsers(dest="group", required=True, metavar="group")
    for name, (module, summary) in GROUPS.items():
        group = groups.add_parser(name, help=summary, description=summary)
        if words[:1] == [name]:
            import_module(f"deepfakemnist.cli.{module}").add_arguments(group)
    arguments = parser.parse_args(words)
    try:
        return int(arguments.run(arguments))
    except ConfigError as error:
        print(f"deepfakemnist: {error}", file=sys.stderr)
        return 1
