"""The command ``bluesky-ptycho restore``."""

from __future__ import annotations

import argparse

from .arguments import LineParser, add_catalog, file_name, tell_default_catalog, tell_error


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    restore = commands.add_parser(
        "restore",
        help="store what a catalog did not take",
        description="Store runs, scans and reconstructions alike, from the files that kept their documents while the "
        "catalog did not take them. A file whose run is stored gets the ending .restored.",
    )
    restore.add_argument(
        "backup",
        nargs="*",
        type=file_name,
        metavar="BACKUP",
        help="files, or directories of such files (default: the catalog's own)",
    )
    add_catalog(restore)
    restore.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Store what was kept; return the exit status."""
    from ..catalog import kept_files, open_catalog, remember_catalog, restore

    failed = False
    with open_catalog(options.catalog, create=False) as catalog:
        remember_catalog(catalog.name)
        own = [catalog.backup_dir] if catalog.backup_dir.is_dir() else []
        files = kept_files(options.backup or own)
        for done in restore(files, catalog):
            if done.error:
                failed = True
                tell_error(f"{done.path}: {done.error}")
            else:
                print(f"{done.path}: run {done.uid} is in {catalog.name}")
        if not failed:
            tell_default_catalog(options, catalog.name)
    if not files:
        print("nothing to restore")
    return 1 if failed else 0
