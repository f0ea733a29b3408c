"""Regularised PIE over mini-batches (Maiden, Johnson, Li, Optica 4, 736 (2017))."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Engine, Lane, Slots
from ..guard import Guard
from ..passes import PassOptions, batches
from ..state import ReconState

SAFETY = 0.7
"""Share of the largest stable step."""


@algorithms.register("rpie")
def rpie(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> float:
    """Make one pass; object and probe step after each batch by the weighted mean of its frames' wishes.

    Steps carry momentum over the batches and passes, which halves the passes needed and averages
    the noise of single batches; :class:`~bluesky_ptycho.recon.guard.Guard` takes back what goes wrong.
    """

    def visit(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        waves = lane.project(state, chunk, lane.exit_waves(state, chunk, probes))
        lane.accumulate(state, chunk, probes, waves)

    chosen, error = options.settings, 0.0
    guard: Guard = state.memory.setdefault("guard", Guard())
    guard.before_pass(state)
    cut = batches(slots, chosen)
    step = guard.caution * safe_step(chosen.step, chosen.momentum, len(cut))
    for batch in cut:
        error += engine.run(state, batch, visit)
        engine.step_object(state, step, chosen.object_regularisation, chosen.momentum)
        if options.probe_free:
            engine.step_probe(state, step, chosen.probe_regularisation, chosen.momentum)
        else:
            engine.clear_probe()
    guard.after_pass(state, error / float(state.frames.photons[slots].sum()), len(slots))
    return error


def safe_step(step: float, momentum: float, n_batches: int) -> float:
    """Return `step`, or less where momentum would overshoot.

    A pixel that only one of the k batches of a pass lights coasts between its visits. With L = mu^k
    and A = mu (1 - L) / (1 - mu), the map of its error and velocity from visit to visit is stable for
    steps below 2 (1 + L) / (1 + A + L) (its trace and determinant; k = 1 is Nesterov's bound). Less
    than that is allowed, as object and probe answer to the same residual.
    """
    left = momentum**n_batches
    coasting = momentum * (1 - left) / (1 - momentum)
    return min(step, SAFETY * 2 * (1 + left) / (1 + coasting + left))
