"""The demonstration: a simulated beamline, a scan, its live reconstruction, a catalog on disk."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import numpy as np

from .callbacks import LivePtycho, LiveSettings, Outcome
from .callbacks.progress_bar import ProgressBar
from .catalog import Catalog, RememberCatalog, open_catalog
from .errors import PreflightError, PtychoError, SettingsError
from .frames import Snapshot
from .output import await_outcome, write_output
from .output_file import check_output_directory
from .plans.trajectories import MAX_POINTS
from .recon.metrics import object_nrmse, scanned_box
from .spelling import spelled
from .terminal import say
from .waiting import AwakeForCtrlC
from .whole_file import whole_hdf5

FINISH_TIMEOUT_S = 600.0

SLOWEST_HZ, FASTEST_HZ = 0.01, 200.0
FINEST_UM = 1e-4
COARSEST_UM = 0.25
"""Of the points of every trajectory neighbours overlap enough for the scan's own check, which judges all scans."""
FAINTEST, BRIGHTEST = 1.0, 1e9
"""Photons a frame: with more than that most pixels of the camera are full."""

SHARE_EXPOSED = 0.75
"""Part of a frame's time that is exposed; in the rest of a step scan the stage moves and settles."""


@dataclass(frozen=True)
class DemoOptions:
    """Options of :func:`run_demo`; lengths in µm, rates in Hz."""

    shape: tuple[int, int] = (20, 20)
    frame_rate: float = 10.0
    photons: float = 1e6
    step: float = 0.08
    trajectory: str = "spiral"
    sample: str = "goldballs"
    fly: bool = False
    output: Path = Path("ptycho_demo")
    seed: int = 0
    settings: LiveSettings | None = None

    def __post_init__(self) -> None:
        ny, nx = self.shape
        if not SLOWEST_HZ <= self.frame_rate <= FASTEST_HZ:
            raise SettingsError(
                f"{spelled('frame_rate')} is {self.frame_rate:g} Hz; expected {SLOWEST_HZ:g} "
                f"(a frame in {1 / SLOWEST_HZ:g} s) to {FASTEST_HZ:g} (the camera's top rate)"
            )
        if min(ny, nx) < 2 or ny * nx > MAX_POINTS:
            raise SettingsError(
                f"{spelled('shape')} is {ny} {nx}; expected NY and NX of 2 or more each, and "
                f"{MAX_POINTS} points at most"
            )
        if not FAINTEST <= self.photons <= BRIGHTEST:
            raise SettingsError(
                f"{spelled('photons')} is {self.photons:g}; expected {FAINTEST:g} to {BRIGHTEST:g} a frame"
            )
        if not FINEST_UM <= self.step <= COARSEST_UM:
            raise SettingsError(
                f"{spelled('step')} is {self.step:g} µm; expected {FINEST_UM:g} (an atom's size) to {COARSEST_UM:g} "
                "(points farther apart overlap too little)"
            )


class PauseAtOnce:
    """Context of a RunEngine in which Ctrl-C pauses the plan at once, in the middle of a wait too.

    Its own handler waits for the next checkpoint, which does not come while frames are rendered. A second
    Ctrl-C goes to the handler before.
    """

    def __init__(self, run_engine: Any) -> None:
        self._run_engine = run_engine

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, self._before)
        # The request waits for the RunEngine's own thread, which may need what this one holds.
        threading.Thread(target=self._pause, daemon=True).start()

    def _pause(self) -> None:
        from bluesky.utils import TransitionError

        with suppress(TransitionError):  # the plan has just ended
            self._run_engine.request_pause()


class ScanClock:
    """Seconds from the start to the stop document of the last run."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._started: float | None = None

    @property
    def has_started(self) -> bool:
        """Whether there was a run."""
        return self._started is not None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document."""
        if name == "start":
            self._started = doc["time"]
        elif name == "stop" and self._started is not None:
            self.seconds = doc["time"] - self._started


@contextmanager
def catalog_of_a_demo(directory: Path, clock: ScanClock) -> Iterator[Catalog]:
    """Open a catalog; remove a new one, and the directories made for it, if neither `clock` nor others had a run."""
    new = [path for path in (directory, *directory.parents) if not path.exists()]
    blank = True
    try:
        with open_catalog(directory) as catalog:
            blank = False  # and stays so where what is in it cannot be found out
            try:
                yield catalog
            finally:
                blank = not clock.has_started and not len(catalog) and _is_empty(catalog.frames_dir)
    finally:
        if new and blank:
            shutil.rmtree(directory, ignore_errors=True)
            with suppress(OSError):  # somebody else has put something there, or it was never made
                for parent in new[1:]:
                    parent.rmdir()


def _is_empty(directory: Path) -> bool:
    return not any(path.is_file() for path in directory.rglob("*"))


def run_demo(options: DemoOptions) -> int:
    """Scan, reconstruct live and write everything to ``options.output``; return the exit status.

    Ctrl-C aborts the scan; what was measured is reconstructed and written before KeyboardInterrupt goes on.
    """
    from .sim.samples import make_sample

    check_output_directory(options.output)
    directory = options.output / "catalog"
    sample = make_sample(options.sample, options.seed)  # one that is not there leaves no directory
    say("loading bluesky and opening the catalog ...")
    from bluesky import RunEngine
    from bluesky.utils import RunEngineInterrupted

    from .sim import make_beamline

    # It logs the traceback of every plan that fails, is refused or aborted; the command says it in a line.
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)
    waiting: Any = AwakeForCtrlC()  # has what a DuringTask has, without loading bluesky for help
    run_engine = RunEngine(context_managers=[PauseAtOnce], during_task=waiting)
    clock = ScanClock()
    with catalog_of_a_demo(directory, clock) as catalog:
        run_engine.md["scan_id"] = catalog.last_scan_id()
        beamline = make_beamline(
            catalog.frames_dir,
            md=run_engine.md,
            sample=sample,
            photons=options.photons,
            frame_rate=options.frame_rate,
            exposure_s=SHARE_EXPOSED / options.frame_rate,
            seed=options.seed,
        )
        sinks: list[Any] = [ProgressBar(), RememberCatalog(directory)]
        with beamline, LivePtycho(options.settings, catalog=catalog, sinks=sinks) as live:
            run_engine.subscribe(catalog.raw_writer())
            run_engine.subscribe(live)
            run_engine.subscribe(clock)
            interrupted = False
            try:
                run_engine(_scan(beamline, options))
            except PreflightError as error:
                ny, nx = options.shape
                field = spelled(
                    f"shape=({ny}, {nx}), step={options.step:g}", f"--shape {ny} {nx} --step {options.step:g}"
                )
                raise PreflightError(f"{field} (µm): {error}") from error
            except RunEngineInterrupted:
                interrupted = True
                say(_interruption(live))
                run_engine.abort("interrupted by the user")
            outcome, ended_early = await_outcome(live, FINISH_TIMEOUT_S)
            interrupted |= ended_early
            if outcome is None and interrupted:  # before the first document
                raise KeyboardInterrupt
            if outcome is None:
                raise PtychoError("the scan was not reconstructed; see the messages above")
            status = _conclude(outcome, clock, options, beamline)
            if interrupted:
                raise KeyboardInterrupt
            return status


def _interruption(live: LivePtycho) -> str:
    progress = live.progress()
    if progress is None or not progress.taken:
        return "interrupted: nothing was measured yet"
    return f"interrupted: {progress.taken} of {progress.planned} points were measured, and are reconstructed and kept"


def _scan(beamline: Any, options: DemoOptions) -> Any:
    from .plans import ptycho_fly_scan, ptycho_scan

    ny, nx = options.shape
    plan = ptycho_fly_scan if options.fly else ptycho_scan
    return plan(
        beamline.fccd,
        beamline.stage.y,
        beamline.stage.x,
        width=nx * options.step,
        height=ny * options.step,
        step=options.step,
        exposure=SHARE_EXPOSED / options.frame_rate,
        trajectory=options.trajectory,
        sample_name=Path(options.sample).stem,
    )


def _conclude(outcome: Outcome, clock: ScanClock, options: DemoOptions, beamline: Any) -> int:
    snapshot = outcome.snapshot
    nrmse, written = None, ["catalog"]
    if snapshot is not None:
        truth = beamline.truth(snapshot.canvas)
        write_truth(options.output / "truth.h5", truth, snapshot)
        nrmse = object_nrmse(snapshot.object, truth, scanned_box(snapshot.canvas, snapshot.positions_m))
        written.append("truth.h5")
    write_output(options.output, outcome, scan_seconds=clock.seconds, object_nrmse=nrmse, written=written)
    return 0 if outcome.update.exit_status == "success" else 1


def write_truth(path: Path, truth: np.ndarray, snapshot: Snapshot) -> None:
    """Write the known object on the canvas of a result: data set ``object``, complex64."""
    canvas = snapshot.canvas
    with whole_hdf5(path) as file:
        data = file.create_dataset("object", data=truth.astype(np.complex64))
        data.attrs["pixel_size_m"] = canvas.pixel_m[0]
        data.attrs["pixel_size_yx_m"] = canvas.pixel_m
        data.attrs["origin_yx_m"] = canvas.origin_m
