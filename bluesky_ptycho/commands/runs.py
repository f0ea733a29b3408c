"""The command ``bluesky-ptycho runs``, and the arguments of searches."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..words import counted
from .arguments import LineParser, add_catalog, positive_whole

if TYPE_CHECKING:
    from ..catalog import Search

MOMENTS = "2026-11-01, '2026-11-01 14:30', today, yesterday, or an age as 30min, 12h, 3d, 2w"


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    runs = commands.add_parser(
        "runs",
        help="list scans and their reconstructions",
        description="List scans and their reconstructions, newest first, all or those that are searched for; then the "
        "reconstructions of scans that are not in the catalog.",
    )
    add_search(runs, limit=50)
    add_catalog(runs)
    runs.set_defaults(command=run)


def add_search(parser: LineParser, *, limit: int) -> None:
    """Add what scans can be searched by."""
    search = parser.add_argument_group("which scans")
    add = search.add_argument
    add("--since", metavar="WHEN", help=f"begun then or later: {MOMENTS}")
    add("--until", metavar="WHEN", help="begun then or earlier; a day with all its hours")
    add("--sample", metavar="NAME", help="name of the sample, or a part of it")
    add("--energy", metavar="EV", help="photon energy in eV, as 700-900, or as 0.8keV; a single one within 1 %%")
    add("--resolution", metavar="LENGTH", help="a reconstruction has reached this half pitch, as 20nm, or a finer one")
    add("--limit", type=positive_whole, default=limit, metavar="N", help="at most so many scans (default: %(default)s)")


def search_of(options: argparse.Namespace) -> Search:
    """Return the search that the arguments ask for.

    Raises
    ------
    SettingsError
        If one cannot be read.
    """
    from ..catalog import make_search

    given = {name: getattr(options, name) for name in ("since", "until", "sample", "energy", "resolution")}
    try:
        return make_search(**given)
    except SettingsError as error:  # each names one of them first
        raise SettingsError(f"--{str(error).removeprefix('search: ')}") from None


def run(options: argparse.Namespace) -> int:
    """List the scans; return the exit status."""
    from ..catalog import Search, format_runs, list_runs, list_strangers, open_catalog

    search = search_of(options)
    with open_catalog(options.catalog, create=False) as catalog:
        rows = list_runs(catalog, options.limit + 1, search)
        shown = rows[: options.limit]
        if shown:
            print(f"catalog {catalog.name}\n{format_runs(shown)}")
        else:
            print(f"no {'such ' if search != Search() else ''}scans in {catalog.name}")
        if len(rows) > len(shown):
            print(f"... and more: --limit {2 * options.limit}")
        if search == Search() and (strangers := list_strangers(catalog)):  # where `listen` leaves them, for one
            told = f"{counted(len(strangers), 'reconstruction')} of scans that are not in this catalog"
            print(f"\n{told}\n{format_runs(strangers[: options.limit])}")
            if len(strangers) > options.limit:
                print(f"... and more: --limit {2 * options.limit}")
    return 0
