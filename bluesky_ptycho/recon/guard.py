"""Watch over the passes: one that makes things worse, or spoils what has been learnt, is taken back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .learnt import Learnt, forget
from .newcomers import Newcomers
from .state import ReconState

logger = logging.getLogger("bluesky_ptycho")

WORSE = 1.2
"""A residual that grows by this factor over the same frames tells of a diverging state."""

NEGLIGIBLE = 1e-4
"""A residual below this is far under any measurement's noise and may rise."""

MOSTLY_NEW = 0.5
"""Share of frames that are new from which the residual before says nothing of the one after."""

FEW = 5
"""Frames below which a residual is not judged: so few are explained to below their noise, and may rise from there."""

RECOVERY = 1.05
"""Factor by which the step grows back after each pass that went well."""


@dataclass(frozen=True)
class _Kept:
    """A state before a pass."""

    object: Any
    probe: Any
    slots: NDArray[np.int64]
    arrivals: NDArray[np.int64]
    learnt: Learnt | None


class Guard:
    """Keeps the states before the last two passes and goes back to the older when the residual rises.

    The running residual of a pass is that of the state it started from, so a rise is the fault of
    the pass before. Frames that are new raise it rightly: each may cost four times the worst mean
    residual seen so far, and where most are new, or there are but few, the residual is not judged.

    Parameters
    ----------
    whole : bool
        False where positions, gains, background and the probe's variation belong to another state and stay.

    Attributes
    ----------
    caution : float
        Factor for the step of the next pass: halved when a state is taken back, growing back to 1.
    taken_back : int
        How often the state was set back.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self._whole = whole
        self.caution = 1.0
        self.taken_back = 0
        self._kept: list[_Kept] = []
        self._canvas: Any = None
        self._last, self._peak = float("inf"), 0.0
        self._newcomers = Newcomers()

    @classmethod
    def of(cls, state: ReconState, *, whole: bool = True) -> Guard:
        """Return the guard of `state`, made when first asked for."""
        guard: Guard = state.memory.setdefault("guard", cls(whole=whole))
        return guard

    def before_pass(self, state: ReconState) -> None:
        """Keep a copy of `state`, which is set back first if it holds what is not finite."""
        self.mend(state)
        if self._canvas != state.canvas:
            self._kept.clear()
            self._canvas = state.canvas
        slots = state.frames.slots()
        learnt = Learnt.of(state, slots) if self._whole else None
        kept = _Kept(state.object * 1, state.probe * 1, slots, state.frames.arrivals[slots], learnt)
        self._kept = [*self._kept[-1:], kept]

    def mend(self, state: ReconState) -> bool:
        """Set `state` back if it holds what is not finite; tell whether it did. Brings one number from a device."""
        if _images_are_finite(state) and (not self._whole or _learnt_is_finite(state)):
            return False
        self._go_back(state, "it held values that are not finite")
        self._last = float("inf")  # the older state may have had a higher one
        return True

    def after_pass(self, state: ReconState, residual: float, slots: NDArray[np.int64]) -> bool:
        """Judge the pass by its running `residual` over the frames of `slots`; True if `state` was set back."""
        new = len(self._newcomers.meet(state.frames, slots)) / len(slots)
        allowed = max(NEGLIGIBLE, WORSE * self._last + 4 * self._peak * new)
        if new >= MOSTLY_NEW or len(slots) < FEW:  # a few frames are explained far better than those that follow can be
            allowed = np.inf
        finite = bool(np.isfinite(residual))
        bad = not finite or residual > allowed
        self._last = residual if finite else float("inf")
        self._peak = max(self._peak, residual) if finite else self._peak
        if not bad:
            self.caution = min(1.0, self.caution * RECOVERY)
            return False
        self._go_back(state, f"the residual rose to {residual:.3g}")
        return True

    def _go_back(self, state: ReconState, why: str) -> None:
        if self._kept and self._kept[0].object.shape == state.object.shape:
            self._restore(state, self._kept[0])
        else:  # the canvas has just grown
            self._start_anew(state)
        self._rest(state)
        self.caution /= 2
        self.taken_back += 1
        # It mends itself; only where it goes on and on is there something to see, in the residual.
        logger.info("a solver step is taken back: %s; steps are halved for a while", why)

    def pardon(self, state: ReconState) -> None:
        """Judge the next pass by none before it: settings have changed. What new frames may cost is still known."""
        self._rest(state)
        self._last = float("inf")

    def _rest(self, state: ReconState) -> None:
        """Take away momentum, the states that were kept, and the waves and gradients of the state that is left."""
        state.rest()
        self._kept.clear()
        self.clear_others(state)

    def clear_others(self, state: ReconState) -> None:
        """Take away what algorithms keep from pass to pass: waves, gradients, directions."""
        for name in [name for name in state.memory if state.memory[name] is not self]:
            del state.memory[name]

    def _restore(self, state: ReconState, kept: _Kept) -> None:
        state.object, state.probe = kept.object, kept.probe
        if kept.learnt is None:
            return
        same = np.flatnonzero(state.frames.arrivals[kept.slots] == kept.arrivals)
        kept.learnt.put_back(state, kept.slots[same], same)

    def _start_anew(self, state: ReconState) -> None:
        """Take away what is not finite where nothing better is kept."""
        xp = state.backend.xp
        state.object = xp.where(xp.isfinite(state.object), state.object, xp.ones_like(state.object))
        state.probe = xp.where(xp.isfinite(state.probe), state.probe, xp.zeros_like(state.probe))
        if self._whole:
            forget(state)

    # -- for a checkpoint -----------------------------------------------------------------------

    def to_array(self) -> NDArray[np.float64]:
        """Return caution and worst residual, ``(2,)``."""
        return np.array([self.caution, self._peak])

    def take_up(self, values: NDArray[np.float64], state: ReconState, slots: NDArray[np.int64]) -> None:
        """Go on with what :meth:`to_array` gave; the frames of `slots` are no news."""
        self.caution, self._peak = (float(v) for v in values)
        self._newcomers.meet(state.frames, slots)


def _images_are_finite(state: ReconState) -> bool:
    """Tell whether object and probe are finite: a sum is where all of its parts are, and costs one number to send."""
    xp = state.backend.xp
    return bool(np.isfinite(state.backend.floats(xp.sum(xp.abs(image)) for image in (state.object, state.probe))).all())


def _learnt_is_finite(state: ReconState) -> bool:
    """Tell whether positions, gains, background and the probe's variation are finite."""
    frames, background, variation = state.frames, state.detection.background, state.variation
    slots = frames.slots()
    known: list[Any] = [frames.shift_px[slots], frames.gain[slots]]
    known += [] if background is None else [state.backend.to_host(background)]
    known += [] if variation is None else [variation.host_modes, variation.coefficients]
    return all(bool(np.isfinite(values).all()) for values in known)
