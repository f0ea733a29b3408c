"""Figures of a state that no pass has to be made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Engine, Lane, Slots
from .state import ReconState


def error_of(state: ReconState, engine: Engine, slots: NDArray[np.int64]) -> float:
    """Return R = sum (amplitude - |wave|)**2 / sum of photons of `slots` over valid pixels, NaN without photons."""
    photons = float(state.frames.photons[slots].sum())
    misfit = float(misfit_of(state, engine, slots))
    engine.read_notes(state)
    return misfit / photons if photons > 0 else float("nan")


def misfit_of(state: ReconState, engine: Engine, slots: Slots) -> Any:
    """Return sum (amplitude - |wave|)**2 of `slots` over valid pixels, on a device a scalar there.

    Pixels are weighed where they are, see ``SolverSettings.pixel_weights``.
    """

    def visit(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        lane.measure(state, chunk, lane.exit_waves(state, chunk, probes))

    return engine.run(state, slots, visit)


def coverage(state: ReconState, slots: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the light that each object pixel has received, ``(rows, cols) float32`` on the host.

    Fractions of a pixel are left out: this is a weight to show and to crop by.
    """
    image = np.zeros(state.canvas.shape, np.float32)
    probe = state.backend.to_host(state.probe)
    light = np.sum(np.abs(probe) ** 2, axis=0, dtype=np.float32)
    ny, nx = light.shape
    for r, c in state.frames.corners[slots].tolist():
        image[r : r + ny, c : c + nx] += light
    return image


CONVERGENCE_PASSES = 5
"""Passes whose mean residual is compared with that of as many before."""


def has_converged(residuals: Sequence[float], tolerance: float) -> bool:
    """Tell whether the residual has fallen by less than the share `tolerance` lately; never for 0."""
    if not tolerance or len(residuals) < 2 * CONVERGENCE_PASSES:
        return False
    before = float(np.mean(residuals[-2 * CONVERGENCE_PASSES : -CONVERGENCE_PASSES]))
    now = float(np.mean(residuals[-CONVERGENCE_PASSES:]))
    return before - now < tolerance * before
