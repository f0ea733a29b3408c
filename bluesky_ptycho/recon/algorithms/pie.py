"""The ptychographic iterative engine and its kin (Maiden, Johnson, Li, Optica 4, 736 (2017)) over mini-batches.

All take the same visit and differ in the weight of their steps: ePIE divides by the brightest pixel, rPIE by a mixture
of that and of the light at the pixel itself, and mPIE adds momentum to rPIE.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Engine, Lane, Slots, Visit
from ..passes import PassOptions
from ..state import ReconState

SAFETY = 0.7
"""Share of the largest stable step."""

MANY = 25
"""Without momentum many small steps find the way faster; each costs work on the whole object and probe."""


@algorithms.register("epie")
def epie(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass of ePIE: steps weighed by the brightest pixel of a batch (eq. 4, summed over the batch)."""
    return pie_pass(state, engine, slots, options, regularisation=1.0)


@algorithms.register("rpie")
def rpie(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass of rPIE: steps weighed by each pixel's light, regularised (eq. 9, summed over a batch)."""
    return pie_pass(state, engine, slots, options)


@algorithms.register("mpie")
def mpie(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass of mPIE: rPIE's steps carry momentum over the batches and passes.

    That halves the passes needed and averages the noise of single batches. The momentum is Nesterov's, applied
    at every batch.
    """
    return pie_pass(state, engine, slots, options, momentum=options.choose("momentum", 0.9), most=4, step=0.5)


def pie_pass(
    state: ReconState,
    engine: Engine,
    slots: NDArray[np.int64],
    options: PassOptions,
    *,
    regularisation: float | None = None,
    momentum: float = 0.0,
    most: int = MANY,
    step: float = 1.0,
) -> Any:
    """Make one pass; object and probe step after each batch by the weighted mean of its frames' wishes."""
    chosen, total = options.settings, 0.0  # a scalar on the device, once it has been there
    cut = options.batches(state.frames, slots, most)
    size = options.caution * safe_step(options.choose("step", step), momentum, len(cut))
    alphas = (chosen.object_regularisation, chosen.probe_regularisation)
    visit = pie_visit(state)
    for batch in cut:
        total += engine.run(state, batch, visit)
        found = engine.directions(state, *(alphas if regularisation is None else (regularisation, regularisation)))
        engine.advance(state, found, size, size if options.probe_free else None, momentum)
    return total


def pie_visit(state: ReconState) -> Visit:
    """Return the visit that sums what the measured moduli ask of object and probe."""

    def visit(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        waves = lane.project(state, chunk, lane.exit_waves(state, chunk, probes))
        lane.accumulate(state, chunk, probes, waves)

    return visit


def safe_step(step: float, momentum: float, n_batches: int) -> float:
    """Return `step`, or less where momentum would overshoot."""
    return min(step, largest_step(momentum, n_batches))


def largest_step(momentum: float, n_batches: int) -> float:
    """Return the largest step that does not overshoot.

    A pixel that only one of the k batches of a pass lights coasts between its visits. With L = mu^k
    and A = mu (1 - L) / (1 - mu), the map of its error and velocity from visit to visit is stable for
    steps below 2 (1 + L) / (1 + A + L) (its trace and determinant; k = 1 is Nesterov's bound). Less
    than that is allowed, as object and probe answer to the same residual.
    """
    left = momentum**n_batches
    coasting = momentum * (1 - left) / (1 - momentum)
    return SAFETY * 2 * (1 + left) / (1 + coasting + left)
