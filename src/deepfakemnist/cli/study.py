"""``deepfakemnist study``: have people rate clips of the dataset, and analyse their answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfakemnist.human_study.analysis import write_analysis
from deepfakemnist.human_study.sheet import PARTICIPANTS, write_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    make = commands.add_parser("make", help="write randomised clips with a form, and the key")
    make.add_argument("out", type=Path, help="new folder")
    make.add_argument("--manifest", type=Path, default=Path("results/manifest"), help="folder of the manifest")
    make.add_argument("--clips", type=int, default=40, help="number of clips, half of them real (%(default)s)")
    make.add_argument("--quality", default="c23", help="quality to show (%(default)s)")
    make.add_argument("--split", choices=("train", "val", "test"), default="test", help="(%(default)s)")
    make.add_argument("--seed", type=int, default=0, help="seed of the choice (%(default)s)")
    make.set_defaults(run=run_make)

    analyse = commands.add_parser("analyse", help="accuracy, d' and AUC from the saved answers")
    analyse.add_argument("key", type=Path, help="key.tsv of the study")
    analyse.add_argument("answers", type=Path, nargs="+", help="files that the form saved, one per participant")
    analyse.add_argument("--out", type=Path, required=True, help="folder for participants.tsv and actions.tsv")
    analyse.set_defaults(run=run_analyse)


def run_make(arguments: argparse.Namespace) -> int:
    """Write the study."""
    count = write_study(
        arguments.manifest, arguments.out, arguments.clips, arguments.quality, arguments.split, arguments.seed
    )
    folder = arguments.out / PARTICIPANTS
    print(f"{count} clips: give {folder} to the participants (they open form.html), and keep {arguments.out}/key.tsv.")
    return 0


def run_analyse(arguments: argparse.Namespace) -> int:
    """Analyse the answers and print the results of all participants together."""
    rows, by_action = write_analysis(arguments.key, arguments.answers, arguments.out)
    whole = rows[-1]
    print(
        f"{whole['participants']} participants, {whole['clips']} clips; in brackets: 95 %, new participants and clips"
    )
    for name, title in (("accuracy", "accuracy"), ("hits", "fakes found"), ("false_alarms", "reals taken for fakes")):
        print(f"{title}\t{_percent(whole, name)}")
    print(f"d'\t{whole['d_prime']:.2f}\nAUC\t{whole['auc']:.3f}")
    for row in by_action:
        print(f"fakes found, {row['action']}\t{_percent(row, 'hits')}\t{row['clips']} clips")
    return 0


def _percent(row: dict[str, object], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    text = f"{100 * float(str(row[name])):.1f} %"
    if low is None or high is None:
        return f"{text} [too few participants or clips]"
    return f"{text} [{100 * float(str(low)):.1f}–{100 * float(str(high)):.1f}]"
