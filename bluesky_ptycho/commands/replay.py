"""The command ``bluesky-ptycho replay``."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import NotFoundError
from ..words import counted
from .arguments import RUN, LineParser, add_catalog, add_output, tell_default_catalog
from .settings_file import add_settings, check_fit, settings_of


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    replay = commands.add_parser(
        "replay",
        help="reconstruct a stored run",
        description="Send a stored run through the live callback and store the new result beside the old ones.",
    )
    replay.add_argument("uid", metavar="UID", help=RUN)
    start = replay.add_mutually_exclusive_group()
    add_settings(start)
    start.add_argument(
        "--no-changes",
        action="store_true",
        help="do not repeat what somebody turned while the scan's newest result (or the one that UID names) was made, "
        "nor start with its settings: take the defaults",
    )
    add_catalog(replay)
    add_output(replay, "ptycho_replay", numbered=True)
    replay.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Reconstruct a stored run again; return the exit status."""
    from ..callbacks import LivePtycho, LiveSettings
    from ..callbacks.progress_bar import ProgressBar
    from ..catalog import open_catalog, remember_catalog
    from ..output import await_outcome, output_directory, write_output
    from ..replay import find_plan, replay, scan_seconds, steering_of

    settings, script = settings_of(options), tuple[Any, ...]()
    with ExitStack() as opened:
        catalog = opened.enter_context(open_catalog(options.catalog, create=False))
        # What is not there, or no scan of ours, leaves no directory, and no catalog remembered.
        uid, plan = find_plan(options.uid, catalog)
        check_fit(options, settings or LiveSettings(), plan)
        output = opened.enter_context(output_directory(options.output, Path("ptycho_replay")))
        tell_default_catalog(options, catalog.name)
        remember_catalog(catalog.name)
        if settings is None and not options.no_changes and (made := steering_of(options.uid, catalog)):
            settings, script = made.settings, made.changes
            changes = counted(len(script), "change")
            print(f"with the settings of result {made.result_uid[:8]} and {changes} made while it ran")
        live = opened.enter_context(LivePtycho(settings, catalog=catalog, sinks=[ProgressBar()], script=script))
        replay(uid, catalog, live)
        _, ended_early = await_outcome(live)
        outcome = live.outcome(uid)
        if outcome is None:
            raise NotFoundError(f"run {uid} carries no ptychography scan that could be reconstructed")
        write_output(output, outcome, scan_seconds=scan_seconds(catalog[uid]))
    if ended_early:
        raise KeyboardInterrupt
    # That the scan itself was aborted or failed is no failure of its replay.
    return 0 if outcome.error is None and outcome.snapshot is not None else 1
