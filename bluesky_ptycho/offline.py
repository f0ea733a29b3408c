"""Reconstruct a stored measurement with the solver of the live callback."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from .errors import MetadataError, PtychoError, SettingsError
from .figure import check_windows, save_reconstruction_png, show_reconstruction
from .frames import Batch, Snapshot
from .given import check_switches
from .io.cxi import CxiData, read_cxi, write_result_cxi
from .output import output_directory, say_where
from .recon import IncrementalSolver, SolverSettings
from .recon.schedule import Schedule
from .recon.stxm import stxm_map
from .scan_plan import ScanPlan
from .spelling import spelled
from .summary import Summary
from .terminal import ProgressLine
from .versions import software_versions
from .words import counted

OUTPUT = Path("ptycho_reconstruction")
OUTPUT_FILES = ("result.cxi", "reconstruction.png", "summary.json")

DEFAULT_ITERATIONS = 100

STDERR = 2
INTERRUPTED = b"\ninterrupted: what is there will be written after this pass; Ctrl-C again gives it up\n"

CHUNK = 64
"""Frames handed to the solver at a time; bounds the memory of what is computed on the way."""


def reconstruct_file(
    path: Path | str,
    *,
    iterations: int | None = None,
    settings: SolverSettings | None = None,
    output: Path | str | None = None,
    progress: bool = True,
    backend: str = "auto",
    show: bool = False,
    propagation: str | None = None,
    focus_to_sample_m: float | None = None,
) -> dict[str, Any]:
    """Reconstruct the patterns of a CXI file; write ``summary.json``, ``result.cxi``, ``reconstruction.png``.

    The probe starts from the file's ``probe_guess`` or illumination when there is one, else from the mean
    pattern. Ctrl-C ends the passes after the present one and keeps what is there. Pixels that are not finite
    count as masked.

    Parameters
    ----------
    path : Path
        CXI file.
    iterations : int, optional
        Passes over all frames, the solver's tail passes among them; those of the schedule by default, else 100.
        A schedule other than the default needs enough of them to come to its last algorithm.
    settings : SolverSettings, optional
    output : Path, optional
        Directory; made if absent. By default a new one in the working directory, "ptycho_reconstruction", numbered
        where that is there already.
    progress : bool
        Show a progress bar and say where the result is.
    backend : str
        "auto", "numpy" or "cupy".
    show : bool
        Show the picture in a window at the end, until it is closed.
    propagation, focus_to_sample_m
        Go before what the file says, as in :func:`~bluesky_ptycho.io.cxi.read_cxi`.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    PtychoError
        If the file cannot be used or holds no light, a setting is wrong or the directory cannot be made.
    KeyboardInterrupt
        After an interruption, when the partial result is written.
    """
    check_switches("reconstruct_file", progress=progress, show=show)
    settings = given = settings or SolverSettings()
    schedule = Schedule.parse(settings.algorithm)  # an unknown one is refused before work
    iterations = (schedule.total or DEFAULT_ITERATIONS) if iterations is None else iterations
    if iterations < 1:
        raise SettingsError(f"{spelled('iterations')} is {iterations}; expected at least 1")
    # Few passes of the default are a quick look; who writes a schedule wants each of its algorithms.
    if iterations <= schedule.before_last and settings.algorithm != SolverSettings().algorithm:
        raise SettingsError(
            f"{spelled('iterations')} is {iterations}; expected more than {schedule.before_last}, after which "
            f"{schedule.stages[-1].name} of the schedule {settings.algorithm!r} begins"
        )
    if show:
        check_windows()
    weighed = settings.pixel_weights
    data = read_cxi(path, propagation=propagation, focus_to_sample_m=focus_to_sample_m, weights=weighed)
    if weighed and data.weight is None:
        raise SettingsError(
            f"solver.pixel_weights is True, and {path} has no weights; expected patterns of merged exposures, as "
            "`bluesky-ptycho preprocess` writes them"
        )
    totals = np.nansum(data.photons, axis=(1, 2), dtype=np.float64)
    if not totals.max(initial=0.0) > 0:
        raise MetadataError(f"{path}: no pattern holds a photon in a valid pixel; expected counts")
    last = schedule.stages[-1].passes or iterations  # the tail is of the last stage's passes
    settings = settings.replace(tail_passes=min(settings.tail_passes, iterations, last))
    solver = _make_solver(data, settings, backend)
    wanted = None if output is None else Path(output)
    with solver, output_directory(wanted, OUTPUT) as directory, _stop_on_interrupt(progress) as stopped:
        snapshot = _solve(solver, iterations - settings.tail_passes, stopped, progress)
        stxm = stxm_map(data.positions_m, totals, snapshot.canvas)
        summary = _summarise(snapshot, data, path, given)
        _write(directory, snapshot, stxm, summary, data.title)
    if progress:
        passes = counted(snapshot.iteration, "pass", "passes")
        text = f"{'interrupted after ' if stopped() else ''}{passes}: {summary.describe(snapshot.frc_limit_m)}"
        say_where(text, directory, OUTPUT_FILES)
    if show:
        show_reconstruction(snapshot, stxm, data.title)
    if stopped():
        raise KeyboardInterrupt
    return summary.to_dict()


def _make_solver(data: CxiData, settings: SolverSettings, backend: str) -> IncrementalSolver:
    """Return a solver that holds all frames."""
    plan = ScanPlan.from_positions(
        data.positions_m, energy_ev=data.geometry.energy_ev, distance_m=data.geometry.distance_m
    )
    try:
        solver = IncrementalSolver(plan, data.geometry, settings, backend, probe=data.probe_guess)
    except MemoryError as error:
        height, width = np.ptp(data.positions_m, axis=0)
        raise PtychoError(
            f"not enough memory for {settings.modes or 'the default'} modes and positions over {width:.3g} m in x and "
            f"{height:.3g} m in y; expected positions in m: {error}"
        ) from error
    for first in range(0, len(data.photons), CHUNK):
        rows = slice(first, first + CHUNK)
        photons = data.photons[rows]
        known = np.isfinite(photons)
        mask = known & (data.mask if data.mask.ndim == 2 else data.mask[rows])
        seq_nums = np.arange(first, first + len(photons), dtype=np.int64)
        amplitude = np.sqrt(np.maximum(np.where(known, photons, 0), 0))
        weight = None if data.weight is None else data.weight[rows]
        solver.add(Batch(seq_nums, data.positions_m[rows], amplitude, mask, weight))
    return solver


def _solve(solver: IncrementalSolver, passes: int, stopped: Callable[[], bool], progress: bool) -> Snapshot:
    """Make `passes` passes, the solver's tail and the half data sets, unless stopped; tell how far it is."""
    tail = solver.settings.tail_passes
    with ProgressLine(passes + tail, "reconstructing", "pass", enabled=progress) as line:
        line.show(0, "warming up")
        for done in range(1, passes + 1):
            if stopped():
                break
            line.show(done, f"R {solver.step():.5f}")
            if solver.converged:
                break
        if not stopped():
            line.show(passes, "finishing")
            solver.finish()
        wanted = solver.settings.frc_passes
        while not stopped() and (made := solver.step_halves(0)) < wanted:
            line.show(solver.iteration, f"resolution from half data sets, pass {made + 1:.0f}/{wanted}")
            solver.step_halves()
        line.show(solver.iteration, "finishing")
        snapshot = solver.snapshot(frc=not stopped(), exact_residual=True)
        line.show(solver.iteration, f"R {snapshot.residual:.5f}")
    return snapshot


def _summarise(snapshot: Snapshot, data: CxiData, path: Path | str, settings: SolverSettings) -> Summary:
    usual = SolverSettings().to_dict()
    return Summary(
        n_frames=len(data.photons),
        iterations=snapshot.iteration,
        residual=snapshot.residual,
        frc_resolution_m=None if snapshot.frc is None else snapshot.frc["half_bit_m"],
        frames_lost=len(data.photons) - len(snapshot.seq_nums),
        propagation=data.geometry.propagation,
        focus_to_sample_m=data.geometry.focus_to_sample_m,
        input_file=str(Path(path).resolve()),
        settings_given={name: value for name, value in settings.to_dict().items() if value != usual[name]},
    )


def _write(output: Path, snapshot: Snapshot, stxm: np.ndarray, summary: Summary, title: str) -> None:
    result, picture, figures = OUTPUT_FILES
    write_result_cxi(output / result, snapshot, sample_name=title, versions=software_versions(), stxm=stxm)
    save_reconstruction_png(output / picture, snapshot, stxm=stxm, title=title)
    summary.write(output / figures)


@contextmanager
def _stop_on_interrupt(progress: bool) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request that the yielded function tells of; a second one interrupts.

    An exception in the midst of a pass would leave the object between two states. Signals reach the
    main thread alone: elsewhere this does nothing.
    """
    requested = threading.Event()

    def request(signum: int, frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()
        if progress:  # not by print, which may be in the midst of a line
            os.write(STDERR, INTERRUPTED)

    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return
    before = signal.signal(signal.SIGINT, request)
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGINT, before)
