"""The command ``bluesky-ptycho bug-report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import PtychoError
from ..output_file import check_output
from ..terminal import say
from .arguments import REPLACED, RUN, LineParser, add_catalog, file_name, positive_whole, tell_default_catalog


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    report = commands.add_parser(
        "bug-report",
        help="pack what a bug report needs into one file",
        description="Pack documents, messages, settings, versions, what the doctor says, the logs that reconstructions "
        "keep, and some raw frames of a scan into a .zip file. Keys, names of people and machines, proposals, sample "
        "names and directories are left out.",
    )
    add = report.add_argument
    add("uid", metavar="UID", help=RUN)
    add("--output", type=file_name, metavar="FILE.zip", help=f"the file; {REPLACED} (default: bug-report-UID.zip)")
    add(
        "--log",
        action="append",
        default=[],
        type=file_name,
        metavar="FILE",
        help="another log file to add, as often as needed",
    )
    add("--frames", type=positive_whole, default=20, metavar="N", help="raw frames at most (default: %(default)s)")
    add_catalog(report)
    report.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write the archive and say what is in it; return the exit status."""
    from ..bug_report import write_bug_report
    from ..catalog import open_catalog

    for log in options.log:
        if not log.is_file():
            raise PtychoError(f"--log is {log}, which is no file")
    if options.output is not None:
        check_output(options.output, (".zip",), inputs=options.log)
    with open_catalog(options.catalog, create=False) as catalog:
        uid = catalog[options.uid].metadata["start"]["uid"]
        output = options.output or Path(f"bug-report-{uid[:8]}.zip")
        parts = write_bug_report(uid, catalog, output, logs=options.log, n_frames=options.frames)
        tell_default_catalog(options, catalog.name)
    width = max(len(part.name) for part in parts)
    for part in parts:
        say(f"{len(part.content):>12,} bytes  {part.name:<{width}}  {part.meaning}")
    say(f"{output} holds them; look into it before you send it")
    return 0
