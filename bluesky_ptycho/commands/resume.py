"""The command ``bluesky-ptycho resume``."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from ..words import counted, span
from .arguments import RUN, LineParser, add_catalog, add_output, positive, refuse_idle, tell_default_catalog
from .settings_file import add_settings, check_fit, settings_of

WAIT_S = 60.0  # resuming.PATIENCE_S, named here for help that is there at once


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the parser."""
    resume = commands.add_parser(
        "resume",
        help="go on with a reconstruction whose session has died",
        description="Go on with the reconstruction of a scan from its last checkpoint, while the scan still runs or "
        "after it; with its settings, or with those of --settings instead of them all. Without UID: list what can be "
        "gone on with.",
    )
    resume.add_argument(
        "uid",
        nargs="?",
        metavar="UID",
        help=RUN,
    )
    add_settings(resume)
    add_catalog(resume)
    add_output(resume, "ptycho_resume", numbered=True)
    resume.add_argument(
        "--wait",
        type=positive,
        metavar="S",
        help=f"seconds without news after which a scan that is still open is taken for dead (default: {WAIT_S:g})",
    )
    resume.add_argument("--process", action="store_true", help="analyse in a process of its own")
    resume.set_defaults(command=_resume)


def _resume(options: argparse.Namespace) -> int:
    from ..callbacks.progress_bar import ProgressBar
    from ..catalog import open_catalog, remember_catalog
    from ..output import await_outcome, output_directory, write_output
    from ..replay import find_plan, scan_seconds
    from ..resuming import resume
    from ..terminal import say

    interrupted = []

    def wait(live: object) -> None:
        interrupted.append(await_outcome(live)[1])  # type: ignore[arg-type]

    if options.uid is None:
        refuse_idle(
            options, ["settings", "output", "wait", "process"], "expected only with the UID of a scan to go on with"
        )
    settings = settings_of(options)
    with ExitStack() as opened:
        catalog = opened.enter_context(open_catalog(options.catalog, create=False))
        if options.uid is None:
            listed = _listed(catalog)
            tell_default_catalog(options, catalog.name)
            print(listed)
            return 0
        raw_uid, plan = find_plan(options.uid, catalog)  # a wrong one is told of before there is a directory
        if settings is not None:
            check_fit(options, settings, plan)
        output = opened.enter_context(output_directory(options.output, Path("ptycho_resume")))
        remember_catalog(catalog.name)
        outcome = resume(
            raw_uid,
            catalog,
            settings=settings,
            sinks=[ProgressBar()],
            process=options.process,
            patience_s=options.wait or WAIT_S,
            say=say,
            wait=wait,
        )
        tell_default_catalog(options, catalog.name)
        write_output(output, outcome, scan_seconds=scan_seconds(catalog[outcome.raw_uid]))
    if any(interrupted):
        raise KeyboardInterrupt
    return 0 if outcome.update.exit_status == "success" else 1


def _listed(catalog: object) -> str:
    from ..resuming import left_behind

    lines = []
    for found in left_behind(catalog):
        age = span(time.time() - found.saved_at)
        kept = "no checkpoint" if found.frames < 0 else f"{counted(found.frames, 'frame')}, saved {age} ago"
        lines.append(f"{found.raw_uid[:8]}  scan {found.scan_id or '-'} {found.sample}: {kept}")
    return "\n".join(lines) or "nothing to resume: no reconstruction was left behind"
