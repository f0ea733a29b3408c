"""The command ``bluesky-ptycho doctor``."""

from __future__ import annotations

import argparse
import sys

from .arguments import RUN, LineParser, add_catalog


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    doctor = commands.add_parser(
        "doctor",
        help="check this machine, a catalog and a run",
        description="Check versions, memory, cores, libraries, plug-ins, the catalog and its rights, disks, reading "
        "while writing (which is really tried), and units, axes and frames of a run. The exit status is 1 if "
        "something must be mended; the line below it says how.",
    )
    doctor.add_argument(
        "uid",
        nargs="?",
        metavar="UID",
        help=f"{RUN} (default: -1)",
    )
    add_catalog(doctor)
    doctor.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Check all; return the exit status."""
    from ..doctor import State, examine, format_finding

    encoding = sys.stdout.encoding or "ascii"
    signs = encoding.lower().replace("-", "").startswith("utf")
    n_bad = 0
    for finding in examine(options.catalog, options.uid):
        print(format_finding(finding, signs=signs, colour=sys.stdout.isatty()), flush=True)
        n_bad += finding.state is State.BAD
    print("all is well" if not n_bad else f"{n_bad} thing{'s' if n_bad > 1 else ''} to mend")
    return 1 if n_bad else 0
