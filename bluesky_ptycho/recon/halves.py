"""Two independent objects from the two halves of the frames, for the Fourier ring correlation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Engine
from .metrics import frc
from .passes import PassOptions
from .settings import SolverSettings
from .state import ReconState, move_to

SMALLEST_IMAGE_PX = 16
"""Below this the Fourier ring correlation is not made."""


class Halves:
    """Objects of the frames with even and with odd sequence numbers, under the probe of all frames.

    The objects start from 1, never from each other or from the common object, and are kept: a
    later call goes on from them. Nothing runs until a correlation is asked for; then each half is
    visited ``frc_passes`` times, which costs as much as ``frc_passes`` passes over all frames. The
    common probe correlates the halves slightly: the resolution is that of the object given the probe.
    """

    def __init__(self, whole: ReconState, engine: Engine, algorithm: Any, settings: SolverSettings) -> None:
        self.engine, self.algorithm, self.settings = engine, algorithm, settings
        nothing = np.zeros((1, 1, 1), np.complex64)
        self.states = [ReconState.start(whole.backend, whole.canvas, nothing, whole.frames) for _ in range(2)]
        self._rng = np.random.default_rng(settings.seed)

    def correlate(self, whole: ReconState) -> dict[str, Any] | None:
        """Return the correlation in the scanned box as :func:`metrics.frc` does; None where it is too small."""
        seq_nums, slots = whole.frames.seq_nums, whole.frames.slots()
        lit = whole.frames.photons[slots] > 0
        box = whole.canvas.scanned_box(whole.frames.positions_m[slots]) if lit.any() else None
        if box is None or min(s.stop - s.start for s in box) < SMALLEST_IMAGE_PX:
            return None
        for parity, state in enumerate(self.states):
            mine = slots[lit & (seq_nums % 2 == parity)]
            if not len(mine):
                return None
            self._pass_over(state, whole, mine)
        first, second = (whole.backend.to_host(s.object)[box] for s in self.states)
        return frc(first, second, whole.canvas.pixel_m)

    def _pass_over(self, state: ReconState, whole: ReconState, slots: NDArray[np.int64]) -> None:
        if state.canvas != whole.canvas:
            move_to(state, whole.canvas)
        state.probe = whole.probe
        options = PassOptions(self.settings, self.settings.batch_size, probe_free=False)
        for _ in range(self.settings.frc_passes):
            self.algorithm(state, self.engine, self._rng.permutation(slots), options)
