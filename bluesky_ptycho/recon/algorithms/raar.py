"""Relaxed averaged alternating reflections (Luke 2005; Marchesini et al., J. Appl. Cryst. 49, 1245 (2016), eq. 10).

With P_F the projection on the measured moduli, P_Q that on exit waves which share one object and
probe, and beta the relaxation, a wave x goes to
``2 beta P_Q P_F x + (1 - 2 beta) P_F x + beta (x - P_Q x)``. P_Q is linear in x for a given
probe, so that one overlap of ``z = 2 P_F x - x`` serves both terms. beta = 1 is the difference map.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Engine, Lane, Slots
from ..measure import error_of
from ..passes import PassOptions
from ..state import ReconState

OVERLAP_REGULARISATION = 0.03
"""Share of the peak illumination that bounds the overlap's division at the rim."""

PROBE_STEP = 0.2
"""Part of the way to the probe that the waves ask for: as the object moves in the same step, half of it
made the residual rise after 20 passes over 400 frames of the workload "small", and a fifth did not."""

RESIDUAL_SHARE = 8
RESIDUAL_FRAMES = 64
"""The residual is that of an eighth of the frames, at least of so many. What the projections meet are reflected
waves, whose misfit says little of object and probe; those cost a transform more for each frame."""


@algorithms.register("raar")
def raar(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> float:
    """Make one pass; what each exit wave keeps from pass to pass lies in ``state.memory``, 8 bytes a pixel and mode.

    The error is that of object and probe after the pass, estimated from some of the frames.
    """
    beta = options.settings.relaxation
    frames, xp = state.frames, state.backend.xp
    kept: dict[int, tuple[Any, Any]] = state.memory.setdefault("raar", {})

    def identity(slot: int) -> tuple[int, float]:
        return int(frames.numbers[slot]), float(frames.photons[slot])

    def wave(slot: int, shared: Any) -> Any:
        """Return x of a frame; a frame that is new, or was replaced, starts from its exit wave."""
        known, rest = kept.get(slot, (None, None))
        return rest + beta * shared if known == identity(slot) else shared + 0

    def visit(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        shared = lane.exit_waves(state, chunk, probes)
        one_frame = shared.ndim == 3
        numbers = chunk.tolist()
        x = (
            wave(numbers[0], shared)
            if one_frame
            else xp.stack([wave(s, shared[i, ...]) for i, s in enumerate(numbers)])
        )
        projected = lane.project(state, chunk, x + 0)
        rest = beta * x + (1 - 2 * beta) * projected
        for i, slot in enumerate(numbers):
            kept[slot] = identity(slot), rest if one_frame else rest[i, ...]
        lane.accumulate(state, chunk, probes, 2 * projected - x)

    for gone in set(kept) - set(slots.tolist()):
        del kept[gone]
    engine.run(state, slots, visit)
    engine.step_object(state, 1.0, OVERLAP_REGULARISATION, 0.0)
    if options.probe_free:
        engine.step_probe(state, PROBE_STEP, options.settings.probe_regularisation, 0.0)
    else:
        engine.clear_probe()
    some = slots[: max(RESIDUAL_FRAMES, len(slots) // RESIDUAL_SHARE)]  # their order is random
    return error_of(state, engine, some) * float(frames.photons[slots].sum())
