"""Frames that are new get a few visits of their own, before all frames have their pass.

A pass takes measured steps, which momentum makes up for over many passes. Where a raster scan arrives last there
are no more passes to come: what was lit for the first time would lag behind the rest of the image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .algorithms.pie import pie_visit
from .engine import Engine
from .passes import batches
from .settings import SolverSettings
from .state import ReconState

VISITS = 4
STEP = 0.5
"""With whole steps of single frames their noise comes in, too."""


def introduce(state: ReconState, engine: Engine, slots: NDArray[np.int64], settings: SolverSettings) -> None:
    """Step the object alone, in small batches without momentum, by the frames of `slots`."""
    if not len(slots):
        return
    kept = state.object_velocity
    state.object_velocity = state.backend.xp.zeros_like(kept)
    visit = pie_visit(state)
    for _ in range(VISITS):
        for batch in batches(slots, len(slots), settings.batch_size):
            engine.run(state, batch, visit)
            found = engine.directions(state, settings.object_regularisation, settings.probe_regularisation)
            engine.advance(state, found, STEP, None)
    state.object_velocity = kept
