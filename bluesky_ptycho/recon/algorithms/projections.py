"""Projection algorithms: each frame keeps an exit wave of its own from pass to pass.

With P_F the projection on the measured moduli and P_Q that on exit waves which share one object and probe, all of them
project a mixture u of the shared waves P_Q x and what is stored, s; then store and give to the overlap
other mixtures of s, P_F u and P_Q x. They differ in nine numbers:

* RAAR (Luke 2005; Marchesini et al., J. Appl. Cryst. 49, 1245 (2016), eq. 10) with relaxation beta takes x to
  ``2 beta P_Q P_F x + (1 - 2 beta) P_F x + beta (x - P_Q x)``. P_Q is linear for a given probe, so
  that one overlap of ``2 P_F x - x`` serves both of its terms.
* The difference map (Thibault et al., Ultramicroscopy 109, 338 (2009), eq. 5) takes x to
  ``x + P_F (2 P_Q x - x) - P_Q x``.
* ADMM (Chang, Enfedaque, Marchesini, SIAM J. Imaging Sci. 12, 153 (2019), algorithm 1) keeps the multiplier:
  ``z = prox(P_Q x + s)``, ``s = s + P_Q x - z``, and the overlap gets ``z - s``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...registry import algorithms
from ..engine import Engine, Lane, Slots
from ..measure import misfit_of
from ..newcomers import Newcomers
from ..passes import PassOptions
from ..reference import Coefficients
from ..state import WAVES, ReconState

OVERLAP_REGULARISATION = 0.03
"""Share of the peak illumination that bounds the overlap's division at the rim."""

PROBE_STEP = 0.2
"""Part of the way to the probe that the waves ask for: as the object moves in the same step, half of it
made the residual rise after 20 passes over 400 frames of the workload "small", and a fifth did not."""

RESIDUAL_SHARE = 8
RESIDUAL_FRAMES = 64
"""The residual is that of an eighth of the frames, at least of so many. What the projections meet are reflected
waves, whose misfit says little of object and probe; those cost a transform more for each frame."""


@dataclass(frozen=True)
class Mixture:
    """The numbers of a projection algorithm.

    Parameters
    ----------
    project : (float, float)
        What is projected, of shared waves and stored waves.
    keep, give : (float, float, float)
        What is stored and what the overlap gets, of stored, projected and shared waves.
    first : float
        What a new frame stores, of its shared waves.
    strength : float
        Part of the way to the measured modulus that the projection goes.
    """

    project: tuple[float, float]
    keep: Coefficients
    give: Coefficients
    first: float
    strength: float = 1.0


@algorithms.register("raar")
def raar(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass of relaxed averaged alternating reflections; `relaxation` is beta."""
    beta = options.choose("relaxation", 0.75)
    mixture = Mixture((beta, 1.0), (beta, 1 - 2 * beta, beta**2), (-1.0, 2.0, -beta), 1 - beta)
    return projection_pass(state, engine, slots, options, mixture)


@algorithms.register("dm")
def dm(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass of the difference map; `relaxation` is the share of the step that is taken."""
    share = options.choose("relaxation", 0.75)
    change = (1.0, share, -share)
    return projection_pass(state, engine, slots, options, Mixture((2.0, -1.0), change, change, 1.0))


@algorithms.register("admm")
def admm(state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions) -> Any:
    """Make one pass of the alternating direction method of multipliers; `relaxation` is the prox's share of the way.

    A share of 1 / (1 + r) is the proximal map of the amplitudes' misfit for the penalty r.
    """
    strength = options.choose("relaxation", 0.75)
    mixture = Mixture((1.0, 1.0), (1.0, -1.0, 1.0), (-1.0, 2.0, -1.0), 0.0, strength)
    return projection_pass(state, engine, slots, options, mixture)


def projection_pass(
    state: ReconState, engine: Engine, slots: NDArray[np.int64], options: PassOptions, mixture: Mixture
) -> Any:
    """Make one pass; what each frame keeps lies in ``state.memory``, 8 bytes a pixel and mode.

    The error is that of object and probe after the pass, estimated from some of the frames.
    """
    frames = state.frames
    kept = _Kept.of(state)
    stored, fresh = kept.waves, kept.newcomers.meet(frames, slots)

    def visit(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        waves = lane.blend(state, chunk, probes, stored, *mixture.project)
        waves = lane.project(state, chunk, waves, mixture.strength)
        waves = lane.relay(state, chunk, probes, stored, waves, mixture.keep, mixture.give)
        lane.accumulate(state, chunk, probes, waves)

    def begin(lane: Lane, chunk: Slots) -> None:
        probes = lane.probes(state, chunk)
        waves = lane.exit_waves(state, chunk, probes)
        lane.relay(state, chunk, probes, stored, waves, (0.0, mixture.first, 0.0), (0.0, 0.0, 0.0))

    engine.run(state, fresh, begin)
    engine.run(state, slots, visit)
    found = engine.directions(state, OVERLAP_REGULARISATION, options.settings.probe_regularisation)
    share = options.caution
    engine.advance(state, found, share, share * PROBE_STEP if options.probe_free else None)
    some = slots[: max(RESIDUAL_FRAMES, len(slots) // RESIDUAL_SHARE)]  # their order is random
    return misfit_of(state, engine, some) * (float(frames.photons[slots].sum()) / float(frames.photons[some].sum()))


class _Kept:
    """Exit waves ``(capacity, m, ny, nx) complex64`` and which frames they belong to."""

    def __init__(self, state: ReconState) -> None:
        capacity = len(state.frames.numbers)
        self.waves = state.backend.xp.zeros((capacity, *state.probe.shape), dtype=state.backend.xp.complex64)
        self.newcomers = Newcomers()

    @classmethod
    def of(cls, state: ReconState) -> _Kept:
        """Return what `state` keeps, with room for all of its frames."""
        kept: _Kept | None = state.memory.get(WAVES)
        new = cls(state) if kept is None or kept.waves.shape[0] < len(state.frames.numbers) else kept
        if kept is not None and new is not kept:
            new.waves[: kept.waves.shape[0], ...], new.newcomers = kept.waves, kept.newcomers
        state.memory[WAVES] = new
        return new
