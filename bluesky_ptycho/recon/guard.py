"""Watch over momentum: a pass that makes things worse is taken back."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .newcomers import Newcomers
from .state import ReconState

logger = logging.getLogger("bluesky_ptycho")

WORSE = 1.2
"""A residual that grows by this factor over the same frames tells of a diverging state."""

NEGLIGIBLE = 1e-4
"""A residual below this is far under any measurement's noise and may rise."""

RECOVERY = 1.05
"""Factor by which the step grows back after each pass that went well."""


class Guard:
    """Keeps the states before the last two passes and goes back to the older when the residual rises.

    The running residual of a pass is that of the state it started from, so a rise is the fault of
    the pass before. Frames that are new raise it rightly: each may cost four times the worst mean
    residual seen so far.

    Attributes
    ----------
    caution : float
        Factor for the step of the next pass: halved by a rejection, growing back to 1.
    rejected : int
        Passes taken back so far.
    """

    def __init__(self) -> None:
        self.caution = 1.0
        self.rejected = 0
        # object and probe before the last pass and before the one ahead of it
        self._kept: list[tuple[Any, Any]] = []
        self._canvas: Any = None
        self._last, self._peak = float("inf"), 0.0
        self._newcomers = Newcomers()

    @classmethod
    def of(cls, state: ReconState) -> Guard:
        """Return the guard of `state`, made when first asked for."""
        guard: Guard = state.memory.setdefault("guard", cls())
        return guard

    def before_pass(self, state: ReconState) -> None:
        """Keep a copy of `state`."""
        if self._canvas != state.canvas:
            self._kept.clear()
            self._canvas = state.canvas
        self._kept = [*self._kept[-1:], (state.object * 1, state.probe * 1)]

    def after_pass(self, state: ReconState, residual: float, slots: NDArray[np.int64]) -> bool:
        """Judge the pass by its running `residual` over the frames of `slots`; True if `state` was set back."""
        new = len(self._newcomers.meet(state.frames, slots)) / len(slots)
        allowed = max(NEGLIGIBLE, WORSE * self._last + 4 * self._peak * new)
        finite = bool(np.isfinite(residual))
        bad = not finite or residual > allowed
        self._last = residual if finite else float("inf")
        self._peak = max(self._peak, residual) if finite else self._peak
        if not bad:
            self.caution = min(1.0, self.caution * RECOVERY)
            return False
        state.object, state.probe = self._kept[0]
        state.rest()
        self._kept.clear()
        self.caution /= 2
        self.rejected += 1
        # It mends itself; only where it goes on and on is there something to see, in the residual.
        logger.info("a solver step is taken back: the residual rose to %.3g; steps are halved for a while", residual)
        return True
