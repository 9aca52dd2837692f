"""``deepfakemnist disk``: print how much space a run needs, by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfakemnist.cli.run_config import add_config_files, config_of
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
    add_config_files(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the need of every stage and the room there is; return 1 if it is too little."""
    config = config_of(arguments)
    # There may be none yet.
    results = Path(config.pathvars.get("results", "results"))
    needs = predict(RunPlan(config, check_files=False), results)
    print(describe_need(needs))
    print(f"{free_bytes(results) / GB:.1f} GB are free in {results}")
    return int(sum(need.missing for need in needs) > room_for(config.disk, results))
