"""The command ``bluesky-ptycho view``."""

from __future__ import annotations

import argparse
import logging
import time
from contextlib import closing
from typing import Any

from ..errors import NotFoundError, PtychoError
from ..terminal import until_interrupted
from .arguments import LineParser, add_catalog, port, tell_default_catalog

logger = logging.getLogger("bluesky_ptycho")

LOOK_S = 2.0
"""Time between looks into the catalog."""


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the parser."""
    view = commands.add_parser(
        "view",
        help="follow a scan in a web browser",
        description="Serve a read-only page that shows the last scan of a catalog with its reconstruction, and follows "
        "it while another process measures. The page is for this machine alone unless --host says otherwise; then its "
        "address holds a token that who opens it must have. Ctrl-C ends it.",
    )
    view.add_argument(
        "uid", nargs="?", default="-1", metavar="UID",
        help="uid of a scan or of a reconstruction, the beginning of one, or a scan_id (default: always the last scan)",
    )  # fmt: skip
    add_catalog(view)
    view.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="network address to listen on, 0.0.0.0 for all (default: %(default)s)",
    )
    view.add_argument(
        "--port",
        type=port,
        metavar="N",
        help="port, 0 for any free one (default: 8470, or a free one where that is in use)",
    )
    view.add_argument(
        "--token",
        metavar="WORD",
        help="secret of 12 characters or more that the page's address must hold (default: made where needed)",
    )
    view.set_defaults(command=_view)


def _view(options: argparse.Namespace) -> int:
    from ..callbacks.live_figure import LivePtychoFigure
    from ..catalog import open_catalog
    from ..catalog_view import CatalogUpdates
    from ..replay import find_plan

    with open_catalog(options.catalog, create=False) as catalog:
        if options.uid != "-1":
            find_plan(options.uid, catalog)  # a wrong one is told of at once
        updates = CatalogUpdates(catalog, options.uid)
        with (
            closing(LivePtychoFigure("web", host=options.host, port=options.port, token=options.token)) as figure,
            until_interrupted(),
        ):
            tell_default_catalog(options, catalog.name)
            while True:
                follow(updates, figure)
                time.sleep(LOOK_S)
    return 0


def follow(updates: Any, figure: Any) -> None:
    """Show what is new; a catalog that does not answer for once is asked again."""
    try:
        update = updates.newest()
    except NotFoundError:
        return
    except (PtychoError, OSError) as error:
        logger.warning("the catalog cannot be read now: %s", error)
        return
    if update is not None:
        figure(update)
