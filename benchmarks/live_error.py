"""Object error of a live scan: at the last frame, final, and against the noise-only floor.

``python -m benchmarks.live_error --json FILE`` runs the demo's scan on the simulated FCCD for
each trajectory, with a real RunEngine at the stated frame rate, and reconstructs it live. The
floor is what the same solver reaches on the same scene from clean frames (Poisson noise only,
no detector), at the true positions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bluesky_ptycho.frames import Batch, Snapshot


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--shape", type=int, nargs=2, default=(20, 20))
    parser.add_argument("--frame-rate", type=float, default=10.0)
    parser.add_argument("--photons", type=float, default=1e6)
    parser.add_argument("--trajectories", nargs="+", default=["spiral", "raster"])
    options = parser.parse_args(arguments)
    figures = {name: measure(name, options) for name in options.trajectories}
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def measure(trajectory: str, options: argparse.Namespace) -> dict[str, Any]:
    """Scan once along `trajectory` and return the figures."""
    from bluesky import RunEngine

    from bluesky_ptycho.callbacks import LivePtycho
    from bluesky_ptycho.demo import SHARE_EXPOSED
    from bluesky_ptycho.plans import ptycho_scan
    from bluesky_ptycho.sim import make_beamline

    ny, nx = options.shape
    step = 0.08
    run_engine = RunEngine()
    with tempfile.TemporaryDirectory() as root:
        exposure = SHARE_EXPOSED / options.frame_rate
        kwargs: dict[str, Any] = {
            "photons": options.photons, "frame_rate": options.frame_rate, "exposure_s": exposure,
        }  # fmt: skip
        with make_beamline(root, md=run_engine.md, **kwargs) as beamline, LivePtycho() as live:
            run_engine.subscribe(live)
            clock = EventClock()
            run_engine.subscribe(clock, "event")
            scan = ptycho_scan(
                beamline.fccd, beamline.stage.y, beamline.stage.x, width=nx * step, height=ny * step, step=step,
                exposure=exposure, trajectory=trajectory,
            )  # fmt: skip
            run_engine(scan)
            outcome = live.wait(600)
            assert outcome is not None and outcome.snapshot is not None and outcome.at_last_frame is not None
            final = error_of(outcome.snapshot, beamline)
            at_last = error_of(outcome.at_last_frame, beamline)
            clean = clean_snapshot(outcome, beamline)
            floor = error_of(clean, beamline)
    return {
        "object_nrmse_floor": floor,
        "object_nrmse_final": final,
        "object_nrmse_at_last_frame": at_last,
        "final_to_floor": final / floor,
        "last_frame_to_final": at_last / final,
        "events_per_second": clock.rate(),
        "passes_at_last_frame": outcome.at_last_frame.iteration,
        "frames_used_at_last_frame": len(outcome.at_last_frame.seq_nums),
        "passes": outcome.snapshot.iteration,
        "seconds_after_last_frame": outcome.seconds_after_last_frame,
        "residual_final": outcome.snapshot.residual,
        "residual_floor": clean.residual,
    }


class EventClock:
    """Rate of the events, darks excluded by taking the median interval."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, name: str, doc: Any) -> None:
        """Note the time of an event."""
        self.times.append(doc["time"])

    def rate(self) -> float:
        """Return events per second from the median interval."""
        return float(1 / np.median(np.diff(self.times)))


def error_of(snapshot: Snapshot, beamline: Any) -> float:
    """Return the object error against the simulated truth."""
    from bluesky_ptycho.recon.metrics import object_nrmse, scanned_box

    box = scanned_box(snapshot.canvas, snapshot.positions_m)
    return object_nrmse(snapshot.object, beamline.truth(snapshot.canvas), box)


def clean_snapshot(outcome: Any, beamline: Any) -> Snapshot:
    """Reconstruct noise-only patterns of the positions that were measured, in batch mode."""
    from bluesky_ptycho.recon import IncrementalSolver

    update, measured = outcome.update, outcome.snapshot
    patterns = beamline.clean_patterns(measured.positions_m)
    mask = np.ones(patterns.shape, dtype=bool)
    with IncrementalSolver(update.plan, update.geometry) as solver:
        solver.add(Batch(measured.seq_nums, measured.positions_m, np.sqrt(patterns).astype(np.float32), mask))
        solver.step(measured.iteration)
        solver.finish()
        return solver.snapshot(exact_residual=True)


if __name__ == "__main__":
    main()
