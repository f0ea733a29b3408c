"""``bluesky-ptycho ingest``: its arguments."""

from __future__ import annotations

import argparse

from ..words import counted
from .arguments import LineParser, add_catalog, file_name, name, require_file, tell_default_catalog


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command and its arguments."""
    ingest = commands.add_parser(
        "ingest",
        help="make a run of a file that another program wrote",
        description="Store the frames of a CXI, NXcxi_ptycho (.nxs) or PtyPy (.ptyd) file as a run, which is listed, "
        "replayed and preprocessed as any scan is. The frames are copied into the catalog.",
    )
    add = ingest.add_argument
    add("file", type=file_name, metavar="FILE", help="patterns of the far field, or raw frames written by 'convert'")
    add("--sample", type=name, metavar="NAME", help="name of the sample (default: the file's name without its ending)")
    add_catalog(ingest)
    ingest.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Store the run and tell its number; return the exit status."""
    from ..foreign import open_foreign

    require_file(options.file)
    with open_foreign(options.file):
        pass  # what holds no frames is refused before all that a catalog needs is loaded, and one is made
    from ..catalog import open_catalog, remember_catalog
    from ..ingesting import ingest

    with open_catalog(options.catalog) as catalog:
        uid = ingest(options.file, catalog, sample_name=options.sample)
        tell_default_catalog(options, catalog.name)
        remember_catalog(catalog.name)
        start = catalog[uid].start
        points = counted(start["ptycho"]["n_points"], "point")
        print(f"scan {start['scan_id']} of {points}, run {uid}, is in {catalog.name}")
    return 0
