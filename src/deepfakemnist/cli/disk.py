"""``deepfakemnist disk``: print how much space a run needs, by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfakemnist.cli.orphans import merged
from deepfakemnist.config.load import load_config
from deepfakemnist.tables.disk_room import GB, free_bytes
from deepfakemnist.workflow.disk_check import describe_need, room_for
from deepfakemnist.workflow.disk_need import predict
from deepfakemnist.workflow.run_plan import RunPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = (
        "Predict the disk space of a run, stage by stage: from its finished shards, or from typical clips before there "
        "are any. Run it where snakemake runs, with the same config files."
    )
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[], help="config files on top of config/config.yaml"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the need of every stage and the room there is; return 1 if it is too little."""
    config = load_config(merged([Path("config/config.yaml"), *arguments.configfile]))
    results = Path(config.pathvars.get("results", "results"))
    needs = predict(RunPlan(config, check_files=False), results)
    print(describe_need(needs))
    print(f"{free_bytes(results) / GB:.1f} GB are free in {results}")
    return int(sum(need.missing for need in needs) > room_for(config.disk, results))
