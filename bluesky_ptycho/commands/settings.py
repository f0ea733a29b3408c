"""The command ``bluesky-ptycho settings``."""

from __future__ import annotations

import argparse

from .arguments import PRESETS, LineParser
from .settings_file import add_settings, settings_of


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    settings = commands.add_parser(
        "settings",
        help="list all settings with defaults, units and allowed values",
        description="List the settings that --set and --settings take: value, what is allowed, unit and meaning; all, "
        "or those whose name begins with NAME.",
    )
    add = settings.add_argument
    add(
        "name",
        nargs="?",
        default="",
        metavar="NAME",
        help="name of a setting or the beginning of one, with its group or without, as solver, overscan or modes",
    )
    add(
        "--preset",
        choices=PRESETS,
        metavar="NAME",
        help=f"show the values of this preset of the preprocessing: {' or '.join(PRESETS)}",
    )
    add_settings(settings)
    form = settings.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write JSON, a list of objects, for programs")
    form.add_argument(
        "--file",
        action="store_true",
        help="write a file for --settings, TOML, where what has its default is commented out",
    )
    settings.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """List them; return the exit status."""
    from ..callbacks import LiveSettings
    from ..devices.recon_control import knob_aliases
    from .settings_table import as_json, as_list, as_toml, list_entries

    settings = settings_of(options) or LiveSettings()
    if options.preset is not None:
        settings = settings.with_changes(**{"preprocess.preset": options.preset})
    entries = list_entries(settings, knob_aliases(), options.name)
    write = as_json if options.json else as_toml if options.file else as_list
    print(write(entries))
    return 0
