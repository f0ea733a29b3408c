"""Before the first frame: memory for what is planned, and a rehearsal, so that the first pass does not wait."""

from __future__ import annotations

import numpy as np

from ..backend import Backend
from ..frames import Batch
from ..geometry import Canvas, Geometry
from ..registry import algorithms
from ..scan_plan import ScanPlan
from .engine import Engine
from .measure import error_of
from .memory import keep_frames_on_disk
from .passes import PassOptions
from .propagation import near_field, warn_of_undersampling
from .schedule import Schedule
from .settings import SolverSettings
from .state import ReconState
from .store import FrameStore


def start_state(
    plan: ScanPlan, geometry: Geometry, settings: SolverSettings, backend: Backend, budget: int | None = None
) -> ReconState:
    """Return a state for the frames of `plan`, whose object is 1 and whose probe is dark; `settings` name the modes.

    Where it would take more than `budget` bytes, the frames lie on the disk.
    """
    canvas = Canvas.for_extent(plan.extent_m, geometry)
    on_disk = keep_frames_on_disk(budget, plan.n_points, canvas.shape, geometry.shape, settings, backend=backend)
    far_field = geometry.propagation == "far"
    frames = FrameStore(
        plan.n_points, geometry.shape, backend, settings.subpixel, far_field, on_disk, settings.pixel_weights
    )
    dark = np.zeros((settings.modes or 1, *geometry.shape), np.complex64)
    state = ReconState.start(backend, canvas, dark, frames, settings.slices)
    state.detection.poisson = settings.noise == "poisson"
    if geometry.propagation == "near":
        warn_of_undersampling(geometry)
        state.detection.transfer = backend.to_device(near_field(geometry))
    return state


def rehearse(plan: ScanPlan, state: ReconState, engine: Engine, schedule: Schedule, settings: SolverSettings) -> None:
    """Compile the kernels and plan the transforms for frames of the shape that `state` takes; it is not changed."""
    window, canvas = state.frames.window, state.canvas
    weighs = settings.pixel_weights
    frames = FrameStore(2, window, state.backend, subpixel=True, far_field=state.frames.far_field, keeps_weights=weighs)
    frames.weighing = weighs
    probe = np.ones(state.probe.shape, np.complex64)
    rehearsal = ReconState.start(state.backend, canvas, probe, frames, settings.slices)
    middle = np.mean(np.reshape(plan.extent_m, (2, 2)), axis=1)
    positions = middle + np.array([[0.0, 0.0], [0.4, 0.3]]) * np.asarray(canvas.pixel_m)
    light = np.ones((2, *window), np.float32)
    frames.put(Batch(np.arange(2), positions, light, np.ones(window, bool), light), canvas)
    rehearsal.detection = state.detection
    for stage in schedule.stages:
        algorithms[stage.name](rehearsal, engine, frames.slots(), PassOptions(settings))
    error_of(rehearsal, engine, frames.slots())
    engine.clear()
    engine.warm_up(state)
