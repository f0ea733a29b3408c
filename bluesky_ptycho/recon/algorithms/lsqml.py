"""Least-squares maximum likelihood over batches (Odstrčil, Menzel, Guizar-Sicairos, Opt. Express 26, 3108 (2018)).

Object and probe step along the preconditioned gradients of a batch (eqs. 24 and 25). How far is found from the batch
itself: the pair of steps that serves its exit waves best in the sense of least squares, coupling included (eq. 22, one
pair for the frames of a batch). Steps carry momentum from batch to batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Directions, Engine, Lane, Slots
from ..passes import PassOptions
from ..state import ReconState
from .pie import largest_step, pie_visit

BATCHES = 2
BATCHES_OF_TAIL = 1
"""One step by all frames does not follow the noise of some: the error of the simulated workloads is 1 to 2 % lower."""
MOMENTUM = 0.95
STEP = 1.0


@algorithms.register("lsqml")
def lsqml(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass; large batches make it a tail that averages noise, small ones a start."""
    chosen, total = options.settings, 0.0
    momentum = options.choose("momentum", MOMENTUM)
    cut = options.batches(state.frames, slots, BATCHES_OF_TAIL if options.tail else BATCHES)
    visit, most = pie_visit(state), options.caution * largest_step(momentum, len(cut))
    share = options.caution * options.choose("step", STEP)
    for batch in cut:
        total += engine.run(state, batch, visit)
        found = engine.directions(state, chosen.object_regularisation, chosen.probe_regularisation)
        coupling = _coupling(state, engine, batch, found) if options.probe_free else None
        engine.advance(state, found, *engine.best_steps(found, coupling, share, most), momentum)
    return total


def _coupling(state: ReconState, engine: Engine, batch: NDArray[np.int64], found: Directions) -> Any:
    def visit(lane: Lane, chunk: Slots) -> None:
        lane.couple(state, chunk, lane.probes(state, chunk), found)

    return engine.run(state, batch, visit, found)
