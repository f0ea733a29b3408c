"""The command ``bluesky-ptycho``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__
from .errors import NotFoundError, PtychoError

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status.

    Errors that the user can mend, and those of memory, disk and files, are printed as one line,
    status 2; Ctrl-C gives 130.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (PtychoError, OSError, MemoryError) as error:
        logging.getLogger("bluesky_ptycho").debug("command failed", exc_info=error)
        print(f"bluesky-ptycho: error: {_one_line(error)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("bluesky-ptycho: interrupted", file=sys.stderr)
        return INTERRUPTED


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"not enough memory: {text}" if isinstance(error, MemoryError) else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bluesky-ptycho",
        description="Live ptychography inside Bluesky: a scan grows into an image in the catalog.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_reconstruct(commands)
    _add_replay(commands)
    _add_runs(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="simulate a scan and reconstruct it live",
        description="Simulate a beamline, scan, reconstruct live, and store everything in a catalog on disk.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument(
        "--shape", nargs=2, type=_positive_int, default=(20, 20), metavar=("NY", "NX"), help="scan points"
    )
    demo.add_argument("--frame-rate", type=_positive, default=10.0, metavar="HZ", help="frames a second, at most 200")
    demo.add_argument("--photons", type=_positive, default=1e6, metavar="N", help="photons a frame")
    demo.add_argument("--step", type=_positive, default=0.08, metavar="UM", help="distance of scan points in um")
    demo.add_argument("--trajectory", default="spiral", help="order of the scan points: spiral, raster, snake ...")
    demo.add_argument("--sample", default="goldballs", help="goldballs, siemens, or an image file")
    demo.add_argument("--fly", action="store_true", help="fly scan instead of step scan")
    demo.add_argument("--output", type=Path, default=Path("ptycho_demo"), metavar="DIR", help="where everything goes")
    demo.add_argument("--seed", type=_seed, default=0, help="seed of all random numbers")
    demo.set_defaults(command=_demo)


def _add_reconstruct(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reconstruct = commands.add_parser(
        "reconstruct",
        help="reconstruct a CXI file",
        description="Reconstruct the diffraction patterns of a CXI file with the solver of the live callback.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    reconstruct.add_argument("file", type=Path, metavar="FILE.cxi")
    reconstruct.add_argument(
        "--iterations", type=_positive_int, default=100, metavar="N", help="passes over all frames"
    )
    reconstruct.add_argument("--algorithm", metavar="NAME", help="algorithm of the solver (default: the solver's)")
    reconstruct.add_argument("--modes", type=_positive_int, metavar="K", help="probe modes (default: the solver's)")
    reconstruct.add_argument("--output", type=Path, default=Path("ptycho_reconstruction"), metavar="DIR")
    reconstruct.set_defaults(command=_reconstruct)


def _add_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser(
        "replay",
        help="reconstruct a stored run",
        description="Send a stored run through the live callback and store the new result beside the old ones.",
    )
    replay.add_argument("uid", metavar="UID", help="uid, a prefix of it, a scan_id, or -1 for the last scan")
    replay.add_argument(
        "--catalog", metavar="DIR", help="directory, URI or profile (default: that of the last command)"
    )
    replay.add_argument("--output", type=Path, default=Path("ptycho_replay"), metavar="DIR")
    replay.set_defaults(command=_replay)


def _add_runs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    runs = commands.add_parser(
        "runs", help="list scans and their reconstructions", description="List raw runs and their reconstructions."
    )
    runs.add_argument("--catalog", metavar="DIR", help="directory, URI or profile (default: that of the last command)")
    runs.set_defaults(command=_runs)


def _demo(options: argparse.Namespace) -> int:
    from .demo import DemoOptions, run_demo

    names = ("frame_rate", "photons", "step", "trajectory", "sample", "fly", "output", "seed")
    return run_demo(DemoOptions(shape=tuple(options.shape), **{name: getattr(options, name) for name in names}))


def _reconstruct(options: argparse.Namespace) -> int:
    from .offline import reconstruct_file
    from .recon import SolverSettings

    given = {"algorithm": options.algorithm, "modes": options.modes}
    settings = SolverSettings.from_mapping({name: value for name, value in given.items() if value is not None})
    reconstruct_file(options.file, iterations=options.iterations, settings=settings, output=options.output)
    return 0


def _replay(options: argparse.Namespace) -> int:
    from .callbacks import LivePtycho
    from .callbacks.progress_bar import ProgressBar
    from .catalog import open_catalog, remember_catalog
    from .output import make_directory, write_output
    from .replay import replay, scan_seconds

    with (
        open_catalog(options.catalog, create=False) as catalog,
        LivePtycho(catalog=catalog, sinks=[ProgressBar()]) as live,
    ):
        remember_catalog(catalog.name)
        make_directory(options.output)
        uid = replay(options.uid, catalog, live)
        live.wait()
        outcome = live.outcome(uid)
        if outcome is None:
            raise NotFoundError(f"run {uid} carries no ptychography scan that could be reconstructed")
        write_output(options.output, outcome, scan_seconds=scan_seconds(catalog[uid]))
    return 0 if outcome.update.exit_status == "success" else 1


def _runs(options: argparse.Namespace) -> int:
    from .catalog import format_runs, list_runs, open_catalog, remember_catalog

    with open_catalog(options.catalog, create=False) as catalog:
        remember_catalog(catalog.name)
        print(format_runs(list_runs(catalog)))
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value
