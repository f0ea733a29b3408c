"""The command ``bluesky-ptycho``."""

from __future__ import annotations

import argparse
import logging
import os
import select
import sys
from collections.abc import Callable, Sequence

from . import __version__
from .commands import (
    bug_report,
    convert,
    demo,
    doctor,
    ingest,
    listen,
    logbook,
    mask,
    preprocess,
    reconstruct,
    replay,
    report,
    reprocess,
    restore,
    resume,
    runs,
    settings,
    show,
    view,
)
from .commands.arguments import USER_ERROR, LineParser, tell_error
from .errors import PtychoError
from .registry import enable_plugins
from .spelling import at_shell
from .terminal import quietly, warnings_as_lines

INTERRUPTED = 130

COMMANDS = (
    demo,
    preprocess,
    reconstruct,
    replay,
    resume,
    reprocess,
    mask,
    settings,
    runs,
    show,
    logbook,
    report,
    restore,
    convert,
    ingest,
    listen,
    view,
    doctor,
    bug_report,
)
"""The modules of the commands, in the order in which help lists them."""

EXAMPLES = {
    "demo": "demo --shape 10 10 --sample siemens",
    "preprocess": "preprocess -1 --set binning=2 --output clean.cxi",
    "reconstruct": "reconstruct clean.cxi --schedule mpie:30,lsqml:50 --modes 2",
    "replay": "replay -1 --settings mine.toml",
    "resume": "resume -1",
    "reprocess": "reprocess -1 -2 --set solver.modes=3 --set preprocess.binning=2",
    "mask": "mask -1 --circle 480,480,20 --above 5000 --output mask.npy",
    "runs": "runs --since yesterday --sample gold",
    "show": "show 1a2b3c4d --compare 5e6f7a8b --output both.png",
    "logbook": "logbook --since 3d --title 'Beam time 7'",
    "report": "report -1 --output gold.html",
    "restore": "restore --catalog my_catalog",
    "convert": "convert -1 --to tiff --output gold.tiff",
    "ingest": "ingest other.cxi --sample gold --catalog my_catalog",
    "listen": "listen --address 127.0.0.1:5578 --catalog my_catalog",
    "view": "view --catalog my_catalog",
    "settings": "settings photon_threshold --preset nanosurveyor",
    "doctor": "doctor -1 --catalog my_catalog",
    "bug-report": "bug-report -1 --frames 5",
}
"""What help shows of each command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status.

    Errors that the user can mend, and those of memory, disk and files, are printed as one line,
    status 2; Ctrl-C gives 130, except where it is the way to end the command.
    """
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        options.parser.refuse_unknown(unknown)
    logging.basicConfig(level=logging.ERROR if options.quiet else logging.WARNING, format="%(message)s")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        enable_plugins(*options.plugin)
        with at_shell(), quietly(options.quiet), warnings_as_lines():
            status = command(options)
            if sys.stdout is not None:
                sys.stdout.flush()  # while what goes wrong with it can be told
            return status
    except (PtychoError, OSError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 0
        logging.getLogger("bluesky_ptycho").debug("command failed", exc_info=error)
        tell_error(_told(error))
        return USER_ERROR
    except KeyboardInterrupt:
        print("bluesky-ptycho: interrupted", file=sys.stderr)
        return INTERRUPTED


def _nobody_reads() -> bool:
    """Tell whether standard output leads nowhere now, as to a pager that was left; then drop the rest.

    That it is so is asked of the pipe: what could not be written may be in its buffer still, or nowhere.
    """
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # there is none, or none that leads out of this process
        return False
    pipe = select.poll()
    pipe.register(output, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in pipe.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _told(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.strerror:  # without its number, which tells nobody anything
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"not enough memory: {text}" if isinstance(error, MemoryError) else text


def _parser() -> LineParser:
    parser = LineParser(
        prog="bluesky-ptycho",
        description="Live ptychography inside Bluesky: a scan grows into an image in the catalog.",
        epilog="Begin with: bluesky-ptycho demo. What a command takes is told by: bluesky-ptycho COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="let an installed distribution offer steps, algorithms, detectors and sinks; may be given several times",
    )
    _add_quiet(parser, default=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_parser(commands)
    for name, command in commands.choices.items():
        command.epilog = f"example: bluesky-ptycho {EXAMPLES[name]}"
        command.set_defaults(parser=command)  # whose help tells what it takes
        _add_quiet(command, default=argparse.SUPPRESS)  # else it would undo the one before the command
    return parser


def _add_quiet(parser: LineParser, default: object) -> None:
    told = "tell only what was asked for, and errors: no progress, no warnings"
    parser.add_argument("--quiet", action="store_true", default=default, help=told)
