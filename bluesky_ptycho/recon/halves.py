"""Two independent images from the two halves of the frames, for the Fourier ring correlation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .constraints import Constraints
from .engine import Engine
from .guard import Guard
from .level import level_of
from .metrics import frc, half_difference
from .optical_axis import stay_on_axis
from .passes import PassOptions
from .probe import orthogonalise
from .replays import make_pass
from .schedule import Schedule
from .settings import SolverSettings
from .state import ReconState, move_to

SETTLING = 4
"""Passes over the halves after the last frame, each as long as one over all frames. A scan of 64 points that the solver
could wait for had 24 nm without them, 18.0 nm after 4, 17.3 nm after 8; with all from the start it has 17.0 nm."""
FEWEST = 16
"""Frames that halves begin with: probes that are fitted to a few wander off, and hardly come back. With noisy frames
one by one, halves from the first on correlate at 0.20 in the end, from the 4th 0.71, from the 16th 0.81, batch 0.84."""
SMALLEST_IMAGE_PX = 16
"""Below this the Fourier ring correlation is not made."""


class Halves:
    """Objects and probes of the frames with even and with odd sequence numbers.

    The halves share nothing but the first guess of the probe: objects start from 1, and each half
    refines a probe of its own. Under a common probe its noise would correlate the objects and the
    resolution would look better than it is. The halves are kept, so that they can grow with the scan;
    a pass over both costs as much as one pass over all frames.
    """

    def __init__(
        self,
        whole: ReconState,
        first_probe: NDArray[np.complex64],
        engine: Engine,
        constraints: Constraints,
        schedule: Schedule,
        settings: SolverSettings,
    ) -> None:
        self.engine, self.constraints, self.schedule, self.settings = engine, constraints, schedule, settings
        self.states = [
            ReconState.start(whole.backend, whole.canvas, np.array(first_probe), whole.frames, settings.slices)
            for _ in "ab"
        ]
        self._first_probe, self._at_work = first_probe, ""
        self.visits = 0
        self._met = self._passes_since_new = 0
        self._passes = 0
        self._rng = np.random.default_rng(settings.seed)

    def step(self, whole: ReconState) -> None:
        """Make one pass over each half by their own schedule; detection and the probe's variation are the whole's."""
        stage = self.schedule.at(0, self._passes, complete=True, tail=False)
        slots = whole.frames.slots(lit=True)
        even = whole.frames.numbers[slots] % 2 == 0
        free = self._passes >= self.settings.probe_start
        # They make few passes: they are weighed in half of them at least.
        begin = min(self.settings.refine_start, self.settings.frc_passes // 2)
        whole.frames.weighing = self.settings.pixel_weights and self._passes >= begin
        for state, mine in zip(self.states, (slots[even], slots[~even]), strict=True):
            if state.canvas != whole.canvas:
                move_to(state, whole.canvas)
            state.detection, state.variation = whole.detection, whole.variation
            if len(mine):
                guard = Guard.of(state, whole=False)
                if stage.name != self._at_work:
                    guard.clear_others(state)
                guard.before_pass(state)
                options = PassOptions.of(stage, self.settings, free, guard.caution)
                error = make_pass(stage.name, state, self.engine, self._rng.permutation(mine), options)
                guard.after_pass(state, error / float(whole.frames.photons[mine].sum()), mine)
                self.constraints.impose(state)
                if free:
                    orthogonalise(state)
                    stay_on_axis(state, self._first_probe, self._passes + 1)
        self._at_work = stage.name
        self._passes += 1
        self.visits += len(slots)
        self._passes_since_new = 1 + (self._passes_since_new if self._met == len(slots) else 0)
        self._met = len(slots)

    def progress(self, n_lit: int, *, ended: bool) -> float:
        """Return how often each of `n_lit` frames was visited in its half, on average.

        When all frames have come it is no more than what still lacks to :data:`SETTLING` passes with the last of them:
        where frames come slowly, the first have nearly all the visits.
        """
        mean = self.visits / n_lit
        if not ended:
            return mean
        lacking = min(SETTLING, self.settings.frc_passes) - (self._passes_since_new if self._met == n_lit else 0)
        return min(mean, self.settings.frc_passes - max(0, lacking))

    def correlate(self, whole: ReconState) -> dict[str, Any] | None:
        """Return the correlation in the scanned box as :func:`metrics.frc` does; None where it is too small."""
        box = self._box(whole)
        return None if box is None else frc(*self._images(whole, box), whole.canvas.pixel_m)

    def uncertainty(self, whole: ReconState) -> NDArray[np.float32] | None:
        """Return the standard deviation of the object, NaN outside the scanned box; None where that is too small."""
        box = self._box(whole)
        if box is None:
            return None
        image = np.full(whole.canvas.shape, np.nan, np.float32)
        image[box] = half_difference(*self._images(whole, box))
        return image

    def _images(self, whole: ReconState, box: tuple[slice, slice]) -> tuple[NDArray[Any], NDArray[Any]]:
        host, slots, images = whole.backend.to_host, whole.frames.slots(lit=True), []
        for state in self.states:  # each at the level of the same frames, as the snapshot is
            image = host(state.transmission)
            images.append(image[box] / np.float32(level_of(image, host(state.probe), whole.frames, slots)))
        return images[0], images[1]

    def _box(self, whole: ReconState) -> tuple[slice, slice] | None:
        if any(state.canvas != whole.canvas for state in self.states):  # it has grown since the last pass of the halves
            return None
        slots = whole.frames.slots(lit=True)
        if len(np.unique(whole.frames.numbers[slots] % 2)) < 2:
            return None
        box = whole.canvas.scanned_box(whole.frames.positions_m[slots])
        return None if min(s.stop - s.start for s in box) < SMALLEST_IMAGE_PX else box
