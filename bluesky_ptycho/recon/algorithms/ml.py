"""Maximum likelihood by preconditioned conjugate gradients (Thibault, Guizar-Sicairos, New J. Phys. 14, 063004 (2012)).

The gradient of all frames, object and probe together, is preconditioned by the light that each pixel has received; the
next direction is Polak and Ribière's, and the step is Newton's along it with the Gauss-Newton curvature of the misfit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Directions, Engine, Lane, Slots
from ..passes import PassOptions
from ..state import ReconState
from .pie import pie_visit


@dataclass(frozen=True)
class _Pass:
    """What a pass leaves for the next one: which frames it saw, gradients, downhill slope and the direction it took."""

    arrivals: NDArray[np.int64]
    gradients: tuple[Any, Any]
    slope: float
    taken: tuple[Any, Any]


@algorithms.register("ml")
def ml(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> float:
    """Make one pass over all frames: gradient, conjugate direction, Newton step along it."""
    chosen, xp = options.settings, state.backend.xp
    error = engine.run(state, slots, pie_visit(state))
    found = engine.directions(state, chosen.object_regularisation, chosen.probe_regularisation)
    if not options.probe_free:
        found = replace(found, probe=xp.zeros_like(found.probe), probe_gradient=xp.zeros_like(found.probe))
    gradients = (found.object_gradient + 0, found.probe_gradient + 0)
    downhill = (found.object, found.probe)
    slope = _product(xp, gradients, downhill)
    along = downhill
    last: _Pass | None = state.memory.get("ml")
    arrivals = np.sort(state.frames.arrivals[slots])
    if last is not None and np.array_equal(last.arrivals, arrivals) and last.taken[0].shape == state.object.shape:
        share = max(0.0, (slope - _product(xp, last.gradients, downhill)) / last.slope)
        mixed = (downhill[0] + share * last.taken[0], downhill[1] + share * last.taken[1])
        along = mixed if _product(xp, gradients, mixed) > 0 else downhill
    if slope <= 0:  # nothing left to gain, or nothing seen
        engine.clear()
        return float(error)
    found = replace(found, object=along[0], probe=along[1])
    bend = _curvature(state, engine, slots, found)
    step = options.caution * options.choose("step", 1.0) * _product(xp, gradients, along) / bend if bend > 0 else 0.0
    state.memory["ml"] = _Pass(arrivals, gradients, slope, (along[0] + 0, along[1] + 0))
    engine.advance(state, found, step, step if options.probe_free else 0.0)
    return float(error)


def _product(xp: Any, a: tuple[Any, Any], b: tuple[Any, Any]) -> float:
    """Return Re <a, b> over object and probe."""
    return float(sum(xp.sum(xp.real(x) * xp.real(y) + xp.imag(x) * xp.imag(y)) for x, y in zip(a, b, strict=True)))


def _curvature(state: ReconState, engine: Engine, slots: NDArray[np.int64], found: Directions) -> float:
    def visit(lane: Lane, chunk: Slots) -> None:
        lane.bend(state, chunk, lane.probes(state, chunk), found)

    return float(engine.run(state, slots, visit, found))
