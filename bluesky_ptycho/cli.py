"""The command ``bluesky-ptycho``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import (
    __version__,
    bug_report_command,
    convert_command,
    doctor_command,
    ingest_command,
    logbook_command,
    mask_command,
    preprocess_command,
    reconstruct_command,
    report_command,
    reprocess_command,
    resume_command,
    runs_command,
    settings_command,
    show_command,
    view_command,
)
from .arguments import (
    RUN,
    USER_ERROR,
    LineParser,
    add_catalog,
    add_output,
    file_name,
    host_and_port,
    positive,
    seed,
    tell_default_catalog,
    whole,
)
from .errors import NotFoundError, PtychoError
from .registry import enable_plugins
from .settings_file import add_settings, settings_of
from .terminal import quietly, until_interrupted, warnings_as_lines
from .words import counted

INTERRUPTED = 130

# Named here, for help that is there at once: the table itself loads bluesky.
TRAJECTORIES = ("interlaced", "random", "raster", "snake", "spiral")

EXAMPLES = {
    "demo": "demo --shape 10 10 --sample siemens",
    "preprocess": "preprocess -1 --set binning=2 --output clean.cxi",
    "reconstruct": "reconstruct clean.cxi --schedule mpie:30,lsqml:50 --modes 2",
    "replay": "replay -1 --settings mine.toml",
    "resume": "resume -1",
    "reprocess": "reprocess 12 13 --set solver.modes=3 --set preprocess.binning=2",
    "mask": "mask -1 --circle 480,480,20 --above 5000 --output mask.npy",
    "runs": "runs --since yesterday --sample gold",
    "show": "show -1 --compare 12 --output both.png",
    "logbook": "logbook --since 3d --title 'Beam time 7'",
    "report": "report -1 --output gold.html",
    "restore": "restore --catalog my_catalog",
    "convert": "convert -1 --to tiff --output gold.tiff",
    "ingest": "ingest other.cxi --sample gold --catalog my_catalog",
    "listen": "listen --address 127.0.0.1:5578 --catalog my_catalog",
    "view": "view --catalog my_catalog",
    "settings": "settings photon_threshold --preset nanosurveyor",
    "doctor": "doctor -1 --catalog my_catalog",
    "bug-report": "bug-report 12 --frames 5",
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
        with quietly(options.quiet), warnings_as_lines():
            return command(options)
    except (PtychoError, OSError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 0
        logging.getLogger("bluesky_ptycho").debug("command failed", exc_info=error)
        print(f"bluesky-ptycho: error: {_one_line(error)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("bluesky-ptycho: interrupted", file=sys.stderr)
        return INTERRUPTED


def _nobody_reads() -> bool:
    """Tell whether standard output leads nowhere now, as to a pager that was left; then drop the rest."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
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
    _add_demo(commands)
    preprocess_command.add_parser(commands)
    reconstruct_command.add_parser(commands)
    _add_replay(commands)
    resume_command.add_parser(commands)
    reprocess_command.add_parser(commands)
    mask_command.add_parser(commands)
    settings_command.add_parser(commands)
    runs_command.add_parser(commands)
    show_command.add_parser(commands)
    logbook_command.add_parser(commands)
    report_command.add_parser(commands)
    _add_restore(commands)
    convert_command.add_parser(commands)
    ingest_command.add_parser(commands)
    _add_listen(commands)
    view_command.add_parser(commands)
    doctor_command.add_parser(commands)
    bug_report_command.add_parser(commands)
    for name, command in commands.choices.items():
        command.epilog = f"example: bluesky-ptycho {EXAMPLES[name]}"
        command.set_defaults(parser=command)  # whose help tells what it takes
        _add_quiet(command, default=argparse.SUPPRESS)  # else it would undo the one before the command
    return parser


def _add_quiet(parser: LineParser, default: object) -> None:
    told = "tell only what was asked for, and errors: no progress, no warnings"
    parser.add_argument("--quiet", action="store_true", default=default, help=told)


def _add_demo(commands: argparse._SubParsersAction[LineParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="simulate a scan and reconstruct it live",
        description="Simulate a beamline, scan, reconstruct live, and store everything in a catalog on disk.",
    )
    add = demo.add_argument
    add(
        "--shape",
        nargs=2,
        type=whole,
        default=(20, 20),
        metavar=("NY", "NX"),
        help="scan points along y and along x, 2 or more each (default: 20 20)",
    )
    add(
        "--frame-rate",
        type=positive,
        default=10.0,
        metavar="HZ",
        help="frames a second, 0.01 to 200 (default: %(default)g)",
    )
    add("--photons", type=positive, default=1e6, metavar="N", help="photons a frame (default: %(default)g)")
    add(
        "--step", type=positive, default=0.08, metavar="UM", help="distance of scan points in µm (default: %(default)g)"
    )
    add(
        "--trajectory",
        choices=TRAJECTORIES,
        default="spiral",
        metavar="NAME",
        help=f"order of the scan points: {', '.join(TRAJECTORIES)} (default: %(default)s)",
    )
    add("--sample", default="goldballs", help="goldballs, siemens, or an image file (default: %(default)s)")
    add("--fly", action="store_true", help="scan on the fly: the stage moves on while frames are taken")
    add_settings(demo)
    add_output(demo, "ptycho_demo", "catalog, truth.h5")
    add("--seed", type=seed, default=0, metavar="N", help="seed of all random numbers (default: %(default)s)")
    demo.set_defaults(command=_demo)


def _add_replay(commands: argparse._SubParsersAction[LineParser]) -> None:
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
    replay.set_defaults(command=_replay)


def _add_restore(commands: argparse._SubParsersAction[LineParser]) -> None:
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
    restore.set_defaults(command=_restore)


def _add_listen(commands: argparse._SubParsersAction[LineParser]) -> None:
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
    listen.set_defaults(command=_listen)


def _demo(options: argparse.Namespace) -> int:
    from .demo import DemoOptions, run_demo

    names = ("frame_rate", "photons", "step", "trajectory", "sample", "fly", "output", "seed")
    values = {name: getattr(options, name) for name in names}
    return run_demo(DemoOptions(shape=tuple(options.shape), settings=settings_of(options), **values))


def _replay(options: argparse.Namespace) -> int:
    from .callbacks import LivePtycho
    from .callbacks.progress_bar import ProgressBar
    from .catalog import open_catalog, remember_catalog
    from .output import await_outcome, output_directory, write_output
    from .replay import find_plan, replay, scan_seconds, steering_of

    settings, script = settings_of(options), tuple[Any, ...]()
    with ExitStack() as opened:
        catalog = opened.enter_context(open_catalog(options.catalog, create=False))
        tell_default_catalog(options, catalog.name)
        # What is not there, or no scan of ours, leaves no directory, and no catalog remembered.
        uid, _ = find_plan(options.uid, catalog)
        output = opened.enter_context(output_directory(options.output, Path("ptycho_replay")))
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


def _restore(options: argparse.Namespace) -> int:
    from .catalog import kept_files, open_catalog, remember_catalog, restore

    failed = False
    with open_catalog(options.catalog, create=False) as catalog:
        tell_default_catalog(options, catalog.name)
        remember_catalog(catalog.name)
        own = [catalog.backup_dir] if catalog.backup_dir.is_dir() else []
        files = kept_files(options.backup or own)
        for done in restore(files, catalog):
            failed |= bool(done.error)
            print(f"{done.path}: {done.error or f'run {done.uid} is in {catalog.name}'}")
    if not files:
        print("nothing to restore")
    return 1 if failed else 0


def _listen(options: argparse.Namespace) -> int:
    from .callbacks import LivePtycho
    from .callbacks.progress_bar import ProgressBar
    from .catalog import RememberCatalog, open_catalog
    from .listener import Listener

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
