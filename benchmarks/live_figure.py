"""What drawing costs a scan: times of the live callback, with and without the live figure.

``python -m benchmarks.live_figure --json FILE`` measures scans at the simulated beamline, in turn without and with a
figure that keeps its PNG up to date, so that both meet the same machine, and writes for each

- ``callback_ms``: what the RunEngine waits for the callback with each document: median, ``p99`` and ``longest`` in
  ms, over ``documents``;
- ``scan_s``: seconds of each scan, ``passes``: what the reconstruction got done while it ran;
- ``pictures``: how often the figure was drawn.

``p99_ratio`` is the second p99 over the first. Times need a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bluesky import RunEngine

from bluesky_ptycho import LivePtycho, LiveSettings, ptycho_scan
from bluesky_ptycho.callbacks import LivePtychoFigure
from bluesky_ptycho.callbacks.updates import Update
from bluesky_ptycho.sim import Beamline, make_beamline

from .conditions import conditions, run_command, write


class Timed:
    """A callback, and how long it took with each document."""

    def __init__(self, callback: LivePtycho) -> None:
        self._callback = callback
        self.seconds: list[float] = []

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Pass a document on."""
        began = time.perf_counter()
        self._callback(name, doc)
        self.seconds.append(time.perf_counter() - began)


class Counting:
    """A figure, and how often its file was replaced."""

    name = "live figure"

    def __init__(self, directory: Path) -> None:
        self._figure, self._directory = LivePtychoFigure("png", directory=directory), directory
        self._last: tuple[int, ...] = ()
        self.drawn = 0

    def __call__(self, update: Update) -> None:
        """Show an update."""
        self._figure(update)
        written = tuple(path.stat().st_mtime_ns for path in self._directory.rglob("*.png"))
        self.drawn += written != self._last
        self._last = written


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the figures."""
    options = parse(arguments)
    write(measure(options), options.json)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--camera", choices=("plain", "fccd"), default="plain", help="(default: %(default)s)")
    parser.add_argument("--side", type=int, default=20, help="scan points along each side (default: %(default)s)")
    parser.add_argument("--frame-rate", type=float, default=20.0, help="frames a second (default: %(default)g)")
    parser.add_argument("--scans", type=int, default=3, help="of each kind (default: %(default)s)")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    before = conditions()
    found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        with make_beamline(root, camera=options.camera, frame_rate=options.frame_rate, progress=False) as beamline:
            scan(beamline, 3, None)  # compiles what is compiled at first use
            for turn in range(options.scans):
                for shown, scans in found.items():
                    scans.append(scan(beamline, options.side, root / f"pictures {turn}" if shown else None))
    without, with_figure = (summary(scans) for scans in found.values())
    return {
        "scan": {name: getattr(options, name) for name in ("camera", "side", "frame_rate", "scans")},
        "without": without,
        "with_figure": with_figure,
        "p99_ratio": with_figure["callback_ms"]["p99"] / without["callback_ms"]["p99"],
        "conditions": before | {"load_average_1min_after": os.getloadavg()[0]},
    }


def scan(beamline: Beamline, side: int, pictures: Path | None) -> dict[str, Any]:
    """Measure one scan of ``side`` × ``side`` points; with a figure if there is a directory for its pictures."""
    figure = None if pictures is None else Counting(pictures)
    step = 0.08
    with LivePtycho(LiveSettings(frc=False), sinks=[] if figure is None else [figure], strict=True) as live:
        timed, run_engine = Timed(live), RunEngine()
        run_engine.subscribe(timed)
        stage, period_s = beamline.stage, 1 / beamline.fccd.frame_rate
        began = time.perf_counter()
        run_engine(
            ptycho_scan(
                beamline.fccd, stage.y, stage.x, width=side * step, height=side * step, step=step, exposure=period_s,
                max_dark_age=0.0, preflight="force",
            )
        )  # fmt: skip
        seconds, progress = time.perf_counter() - began, live.progress()
        live.wait()
    return {
        "callback_s": timed.seconds,
        "scan_s": seconds,
        "passes": 0 if progress is None else progress.iteration,
        "pictures": 0 if figure is None else figure.drawn,
    }


def summary(scans: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of all scans of one kind."""
    milliseconds = 1e3 * np.concatenate([found["callback_s"] for found in scans])
    return {
        "callback_ms": {
            "documents": len(milliseconds),
            "median": float(np.median(milliseconds)),
            "p99": float(np.percentile(milliseconds, 99)),
            "longest": float(milliseconds.max()),
        },
        "scan_s": [found["scan_s"] for found in scans],
        "passes": [found["passes"] for found in scans],
        "pictures": [found["pictures"] for found in scans],
    }


if __name__ == "__main__":
    run_command(main)
