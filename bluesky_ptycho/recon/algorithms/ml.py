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
    slope: Any
    taken: tuple[Any, Any]


@algorithms.register("ml")
def ml(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass over all frames: gradient, conjugate direction, Newton step along it.

    All numbers on the way are scalars where the arrays are: nothing waits for a device before the pass is over.
    """
    chosen, xp = options.settings, state.backend.xp
    error = engine.run(state, slots, pie_visit(state))
    found = engine.directions(state, chosen.object_regularisation, chosen.probe_regularisation)
    if not options.probe_free:
        found = replace(found, probe=xp.zeros_like(found.probe), probe_gradient=xp.zeros_like(found.probe))
    gradients = (found.object_gradient + 0, found.probe_gradient + 0)
    downhill = (found.object, found.probe)
    slope, along = _product(xp, gradients, downhill), downhill
    last: _Pass | None = state.memory.get("ml")
    arrivals = np.sort(state.frames.arrivals[slots])
    if last is not None and np.array_equal(last.arrivals, arrivals) and last.taken[0].shape == state.object.shape:
        along = _conjugate(xp, last, gradients, downhill, slope)
    found = replace(found, object=along[0], probe=along[1])
    gain, bend = _product(xp, gradients, along), _curvature(state, engine, slots, found)
    # Where there is nothing left to gain, or nothing was seen, nothing moves.
    newton = _ratio(xp, gain, xp.where(slope > 0, bend, xp.zeros_like(slope)))
    step = options.caution * options.choose("step", 1.0) * newton
    state.memory["ml"] = _Pass(arrivals, gradients, slope, (along[0] + 0, along[1] + 0))
    engine.advance(state, found, step, step if options.probe_free else None)
    return error


def _conjugate(
    xp: Any, last: _Pass, gradients: tuple[Any, Any], downhill: tuple[Any, Any], slope: Any
) -> tuple[Any, Any]:
    """Return `downhill` and Polak and Ribière's share of the direction taken last, or of none if that led uphill."""
    share = _ratio(xp, slope - _product(xp, last.gradients, downhill), last.slope)
    share = xp.where(share > 0, share, xp.zeros_like(share))
    leads_down = slope + share * _product(xp, gradients, last.taken) > 0
    share = xp.asarray(xp.where(leads_down, share, xp.zeros_like(share)), dtype=xp.complex64)
    return downhill[0] + share * last.taken[0], downhill[1] + share * last.taken[1]


def _ratio(xp: Any, above: Any, below: Any) -> Any:
    """Return `above` over `below`, 0 unless that is positive."""
    return xp.where(below > 0, above / xp.where(below > 0, below, xp.ones_like(below)), xp.zeros_like(below))


def _product(xp: Any, a: tuple[Any, Any], b: tuple[Any, Any]) -> Any:
    """Return Re <a, b> over object and probe, a scalar array."""
    parts = (xp.real(x) * xp.real(y) + xp.imag(x) * xp.imag(y) for x, y in zip(a, b, strict=True))
    return sum(xp.sum(part, dtype=xp.float64) for part in parts)


def _curvature(state: ReconState, engine: Engine, slots: NDArray[np.int64], found: Directions) -> Any:
    def visit(lane: Lane, chunk: Slots) -> None:
        lane.bend(state, chunk, lane.probes(state, chunk), found)

    return state.backend.xp.asarray(engine.run(state, slots, visit, found), dtype=state.backend.xp.float64)
