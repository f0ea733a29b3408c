"""The command ``bluesky-ptycho listen``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..terminal import until_interrupted
from .arguments import LineParser, add_catalog, host_and_port, tell_default_catalog
from .settings_file import add_settings, settings_of

if TYPE_CHECKING:
    from ..callbacks import LivePtycho


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    listen = commands.add_parser(
        "listen",
        help="reconstruct the scans of another process",
        description="Reconstruct, until Ctrl-C, the scans of a RunEngine in another process, which publishes documents "
        "as JSON over ZeroMQ.",
    )
    listen.add_argument(
        "--address",
        type=host_and_port,
        default="127.0.0.1:5578",
        metavar="HOST:PORT",
        help="where to listen; whoever reaches it can send documents (default: %(default)s)",
    )
    add_settings(listen)
    add_catalog(listen)
    listen.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Reconstruct what another process measures, until Ctrl-C; return the exit status."""
    from ..callbacks import LivePtycho
    from ..callbacks.progress_bar import ProgressBar
    from ..catalog import RememberCatalog, open_catalog
    from ..listener import Listener

    settings = settings_of(options)
    found: list[LivePtycho] = []

    def hand_over(name: str, doc: Mapping[str, Any]) -> None:
        found[0](name, doc)

    with ExitStack() as unused:
        # Settings and an address that cannot be used make no catalog: they come first.
        listener = Listener(hand_over, options.address)
        unused.callback(listener.close)
        with (
            open_catalog(options.catalog) as catalog,
            LivePtycho(settings, catalog=catalog, sinks=[ProgressBar(), RememberCatalog(catalog.name)]) as live,
        ):
            tell_default_catalog(options, catalog.name)
            found.append(live)
            print(f"listening at {options.address}; results go to {catalog.name}", flush=True)
            # Nothing is received any more while the last reconstruction ends.
            with unused.pop_all(), until_interrupted():
                listener.run()
    return 0
