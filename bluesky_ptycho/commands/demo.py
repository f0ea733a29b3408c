"""The command ``bluesky-ptycho demo``."""

from __future__ import annotations

import argparse

from .arguments import LineParser, add_output, positive, seed, whole
from .settings_file import add_settings, settings_of

# Named here, for help that is there at once: the table itself loads bluesky.
TRAJECTORIES = ("interlaced", "random", "raster", "snake", "spiral")


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
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
        help="scan points along y and along x, 2 or more each, 1000000 in all at most (default: 20 20)",
    )
    add(
        "--frame-rate",
        type=positive,
        default=10.0,
        metavar="HZ",
        help="frames a second, 0.01 to 200 (default: %(default)g)",
    )
    add("--photons", type=positive, default=1e6, metavar="N", help="photons a frame, 1 to 1e9 (default: 1e6)")
    add(
        "--step",
        type=positive,
        default=0.08,
        metavar="UM",
        help="distance of scan points in µm, 0.0001 to 0.25, where they overlap just enough (default: %(default)g)",
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
    demo.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Simulate, scan and reconstruct; return the exit status."""
    from ..demo import DemoOptions, run_demo

    names = ("frame_rate", "photons", "step", "trajectory", "sample", "fly", "output", "seed")
    values = {name: getattr(options, name) for name in names}
    return run_demo(DemoOptions(shape=tuple(options.shape), settings=settings_of(options), **values))
