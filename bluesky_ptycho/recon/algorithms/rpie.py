"""Regularised PIE over mini-batches (Maiden, Johnson, Li, Optica 4, 736 (2017))."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Engine, Lane, Slots
from ..passes import PassOptions, batches
from ..state import ReconState


@algorithms.register("rpie")
def rpie(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> float:
    """Make one pass; object and probe step after each batch by the weighted mean of its frames' wishes."""

    def visit(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        waves = lane.project(state, chunk, lane.exit_waves(state, chunk, probes))
        lane.accumulate(state, chunk, probes, waves)

    chosen, error = options.settings, 0.0
    for batch in batches(slots, options.batch_size):
        error += engine.run(state, batch, visit)
        engine.step_object(state, chosen.object_regularisation, chosen.object_step)
        engine.step_probe(state, chosen.probe_regularisation, chosen.probe_step if options.probe_free else 0.0)
    return error
