"""``deepfakemnist plan export``: write the pairs that another program or a service has to render."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfakemnist.cli.run_config import add_config_files, config_of, results_of
from deepfakemnist.ids import printable
from deepfakemnist.workflow.run_plan import RunPlan

_MAX_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    export = commands.add_parser(
        "export",
        help="write the pairs to render elsewhere",
        description="Write the pairs of the animators with name: rendered to a folder: pairs.csv, source pictures, "
        "driver clips. Run it where snakemake runs, with the same config files, after `snakemake plan_pairs`. "
        "Rows that pairs.csv already has stay as they are. docs/rendered_elsewhere.md",
    )
    export.add_argument("out", type=Path, help="folder to write to")
    add_config_files(export)
    export.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the pairs and say how many; return 1 if some were left out."""
    # Imported here, because OpenCV takes a while, which --help should not.
    from deepfakemnist.workflow.pairs_to_render import TABLE, export_pairs

    config = config_of(arguments)
    found = export_pairs(RunPlan(config, check_files=False), results_of(config), arguments.out)
    print(f"{arguments.out / TABLE}: {found.new} new pairs, {found.known} already there")
    for line in found.left_out[:_MAX_LISTED]:
        print(f"left out: {printable(line)}")
    if len(found.left_out) > _MAX_LISTED:
        print(f"… and {len(found.left_out) - _MAX_LISTED} more")
    return int(bool(found.left_out))
