"""Relaxed averaged alternating reflections (Luke 2005; Marchesini et al. 2016); beta = 1 is the difference map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Engine, Lane, Slots
from ..passes import PassOptions
from ..state import ReconState

REGULARISATION = 1e-3
"""Share of the peak weight added in the overlap projection, for pixels that hardly any light reaches."""


@algorithms.register("raar")
def raar(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> float:
    """Make one pass: each exit wave moves by relaxed reflections, then object and probe follow from all.

    With the modulus projection M, the overlap projection O and the reflections R = 2 P - 1 this is
    ``z <- beta / 2 (R_M R_O + 1) z + (1 - beta) O z``. All frames' exit waves are kept; a frame that
    is new starts at its overlap projection, so frames may join and leave between passes. The error
    is that of the reflected waves, which is larger than the object's.
    """
    beta = options.settings.relaxation
    kept: ExitWaves = state.memory.setdefault("exit_waves", ExitWaves())
    kept.fit(state)

    def visit(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        overlap = lane.exit_waves(state, chunk, probes) * 1  # a copy: the lane goes on to use its buffer
        old = kept.read(state, chunk, overlap)
        projected = lane.project(state, chunk, 2 * overlap - old)
        new = beta * (old + projected) + (1 - 2 * beta) * overlap
        kept.write(state, chunk, new)
        lane.accumulate(state, chunk, probes, new)

    error = engine.run(state, slots, visit)
    engine.step_object(state, 1.0, REGULARISATION, 0.0)
    if options.probe_free:
        engine.step_probe(state, 1.0, REGULARISATION, 0.0)
    else:
        engine.clear_probe()
    return error


class ExitWaves:
    """Exit waves of all frames, by slot; one whose frame was replaced is forgotten."""

    def __init__(self) -> None:
        self._waves: Any = None
        self._revisions = np.zeros(0, np.int64)

    def fit(self, state: ReconState) -> None:
        """Make room for every slot of the state's frames."""
        xp, capacity = state.backend.xp, len(state.frames.revisions)
        known = len(self._revisions)
        if known == capacity:
            return
        waves = xp.zeros((capacity, *state.probe.shape), dtype=xp.complex64)
        if known:
            waves[:known, ...] = self._waves
        self._waves = waves
        self._revisions = np.concatenate([self._revisions, np.full(capacity - known, -1)])

    def read(self, state: ReconState, chunk: Slots, otherwise: Any) -> Any:
        """Return the waves of `chunk`, those of `otherwise` where none is known; shaped like `otherwise`."""
        fresh = self._revisions[chunk] == state.frames.revisions[chunk]
        if otherwise.ndim == 3:
            return self._waves[chunk[0]] if fresh[0] else otherwise
        xp = state.backend.xp
        return xp.stack(
            [
                self._waves[int(s), ...] if f else otherwise[i, ...]
                for i, (s, f) in enumerate(zip(chunk, fresh, strict=True))
            ]
        )

    def write(self, state: ReconState, chunk: Slots, waves: Any) -> None:
        """Keep the waves of `chunk`."""
        self._revisions[chunk] = state.frames.revisions[chunk]
        if waves.ndim == 3:
            self._waves[chunk[0]] = waves
            return
        for i, slot in enumerate(chunk.tolist()):
            self._waves[slot, ...] = waves[i, ...]
