"""The command ``bluesky-ptycho logbook``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..output_file import check_output
from ..terminal import say
from ..words import counted
from .arguments import REPLACED, LineParser, add_catalog, file_name, tell_default_catalog
from .runs import add_search, search_of


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    logbook = commands.add_parser(
        "logbook",
        help="write a page of the beam time",
        description="Write an HTML page with a row for each scan: time, sample, image, resolution, frames, photons for "
        "each µm², status, and the report if there is one. The file holds its pictures and can be sent as it is.",
    )
    logbook.add_argument(
        "--output",
        type=file_name,
        default=Path("logbook.html"),
        metavar="FILE.html",
        help=f"the page; {REPLACED} (default: %(default)s)",
    )
    logbook.add_argument("--title", default="Beam time", help="heading of the page (default: %(default)s)")
    add_search(logbook, limit=1000)
    add_catalog(logbook)
    logbook.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write the page; return the exit status."""
    from ..catalog import open_catalog
    from ..logbook import entries, write_logbook

    check_output(options.output, (".html", ".htm"))
    search = search_of(options)
    with open_catalog(options.catalog, create=False) as catalog:
        n = write_logbook(options.output, entries(catalog, search, options.limit), title=options.title)
        tell_default_catalog(options, catalog.name)
    say(f"{counted(n, 'scan')}; {options.output} holds the page")
    return 0
