"""Least-squares maximum likelihood over batches (Odstrčil, Menzel, Guizar-Sicairos, Opt. Express 26, 3108 (2018)).

Object and probe step along the preconditioned gradients of a batch (eqs. 24 and 25). How far is found from the batch
itself: the pair of steps that serves its exit waves best in the sense of least squares, coupling included (eq. 22, one
pair for the frames of a batch). Steps carry momentum from batch to batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Directions, Engine, Lane, Slots
from ..passes import PassOptions
from ..state import ReconState
from .pie import pie_visit, safe_step

BATCHES = 2
BATCHES_OF_TAIL = 1
"""One step by all frames does not follow the noise of some: the error of the simulated workloads is 1 to 2 % lower."""
MOMENTUM = 0.95
STEP = 1.0

RIDGE = 1e-3
"""Relative weight added to the curvatures, for directions that do nearly the same."""


@algorithms.register("lsqml")
def lsqml(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> float:
    """Make one pass; large batches make it a tail that averages noise, small ones a start."""
    chosen, total = options.settings, 0.0
    momentum = options.choose("momentum", MOMENTUM)
    cut = options.batches(state.frames, slots, BATCHES_OF_TAIL if options.tail else BATCHES)
    visit, share = pie_visit(state), options.choose("step", STEP)
    for batch in cut:
        total += engine.run(state, batch, visit)
        found = engine.directions(state, chosen.object_regularisation, chosen.probe_regularisation)
        coupling = _coupling(state, engine, batch, found) if options.probe_free else 0.0
        object_step, probe_step = (
            options.caution * safe_step(share * step, momentum, len(cut))
            for step in best_steps(*_on_host(state, found, coupling), options.probe_free)
        )
        engine.advance(state, found, object_step, probe_step, momentum)
    return float(total)


def _coupling(state: ReconState, engine: Engine, batch: NDArray[np.int64], found: Directions) -> Any:
    def visit(lane: Lane, chunk: Slots) -> None:
        lane.couple(state, chunk, lane.probes(state, chunk), found)

    return engine.run(state, batch, visit, found)


def _on_host(state: ReconState, found: Directions, coupling: Any) -> tuple[Directions, float]:
    """Return slopes, curvatures and coupling as floats, by one transfer."""
    names = ("object_slope", "object_curvature", "probe_slope", "probe_curvature")
    *numbers, coupling = state.backend.floats([*(getattr(found, name) for name in names), coupling])
    return replace(found, **dict(zip(names, numbers, strict=True))), coupling


def best_steps(found: Directions, coupling: float, probe_free: bool) -> tuple[float, float]:
    """Return the steps of object and probe that minimise the waves' misfit; 0 for what cannot move.

    They solve [[D_O, C], [C, D_P]] (s_O, s_P) = (N_O, N_P) with slopes N, curvatures D and coupling C.
    """
    d_o, d_p = (d * (1 + RIDGE) for d in (found.object_curvature, found.probe_curvature))
    if not probe_free or d_p <= 0:
        return (found.object_slope / d_o if d_o > 0 else 0.0), 0.0
    determinant = d_o * d_p - coupling**2
    if d_o <= 0 or determinant <= 0:
        return (0.5 * found.object_slope / d_o if d_o > 0 else 0.0), 0.5 * found.probe_slope / d_p
    object_step = (d_p * found.object_slope - coupling * found.probe_slope) / determinant
    probe_step = (d_o * found.probe_slope - coupling * found.object_slope) / determinant
    return max(object_step, 0.0), max(probe_step, 0.0)
