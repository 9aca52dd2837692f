"""``deepfakemnist animator``: settings of animators; what a weight file is, and its conversion to safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    commands = parser.add_subparsers(dest="command", required=True)
    help_file = "weights: an official checkpoint, safetensors, or a folder of the files of one animator"
    inspect = commands.add_parser("inspect", help="print the card of a weight file")
    inspect.add_argument("file", type=Path, help=help_file)
    inspect.set_defaults(run=run_inspect)
    convert = commands.add_parser("convert", help="pack weights, with architecture and origin, into safetensors")
    convert.add_argument("file", type=Path, help=help_file)
    convert.add_argument("packed", type=Path, help="file to write, *.safetensors")
    convert.add_argument("--half", action="store_true", help="store float16: half the size, rounded to 3 digits")
    convert.set_defaults(run=run_convert)
    settings = commands.add_parser("settings", help="print the settings of animators, of other packages too")
    settings.add_argument("name", nargs="?", help="of this animator alone")
    settings.set_defaults(run=run_settings)


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print what the file is."""
    _print_card(arguments.file)
    return 0


def run_convert(arguments: argparse.Namespace) -> int:
    """Write the packed file and print its card."""
    # Imported here, because torch takes seconds, which --help should not.
    from deepfakemnist.animate.weight_cards import convert_weights

    convert_weights(arguments.file, arguments.packed, half=arguments.half)
    _print_card(arguments.packed)
    return 0


def run_settings(arguments: argparse.Namespace) -> int:
    """Print the settings of one animator, or of all. Raises: ConfigError for an unknown one."""
    from deepfakemnist.config.animators.registry import CLASSES, PLUGINS
    from deepfakemnist.config.settings_page import keys

    name = arguments.name
    if name is not None and name not in CLASSES:
        reason = PLUGINS[name].problem if name in PLUGINS else f"there are {', '.join(sorted(CLASSES))}"
        raise ConfigError(f"no animator {name}: {reason}")
    for one, settings in sorted(CLASSES.items()):
        if name in (None, one):
            package = f" of {PLUGINS[one].package}" if one in PLUGINS else ""
            print(f"{one}{package}: {(settings.__doc__ or '').strip().splitlines()[0]}")
            for key in keys(settings):
                print(f"  {key.name}: {key.default}  ({key.allowed})  {key.meaning}")
    return 0


def _print_card(path: Path) -> None:
    from deepfakemnist.animate.weight_cards import inspect_weights

    lines = list(inspect_weights(path).lines())
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{printable(name):<{width}}  {printable(value)}")
