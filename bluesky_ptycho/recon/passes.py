"""What the solver tells an algorithm about one pass, and the order of the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .schedule import MOST_FRAMES, Stage
from .settings import SolverSettings
from .store import FrameStore


@dataclass(frozen=True)
class PassOptions:
    """One pass: the settings, whether the probe may change, the guard's factor for steps, whether it ends the work."""

    settings: SolverSettings
    probe_free: bool = True
    caution: float = 1.0
    tail: bool = False

    @classmethod
    def of(
        cls, stage: Stage, settings: SolverSettings, probe_free: bool, caution: float, *, tail: bool = False
    ) -> PassOptions:
        """Return the options of a pass of `stage`, whose own size of batches goes before that of `settings`."""
        if stage.batch is not None:
            settings = settings.replace(batch_size=stage.batch, batches_per_pass=MOST_FRAMES)
        return cls(settings, probe_free, caution, tail)

    def choose(self, name: str, own: Any) -> Any:
        """Return the setting `name`, or where it is left to the algorithm, the algorithm's `own` value."""
        given = getattr(self.settings, name)
        return own if given is None else given

    def batches(self, frames: FrameStore, slots: NDArray[np.int64], own_most: int) -> list[NDArray[np.int64]]:
        """Cut the pass over `slots` into batches as the settings say, else into at most `own_most`."""
        most, least = self.choose("batches_per_pass", own_most), self.settings.batch_size
        if self.settings.compact_batches:
            return compact_batches(frames.positions_m, slots, number_of_batches(len(slots), most, least))
        return batches(slots, most, least)


def number_of_batches(n_frames: int, most: int, least_frames: int) -> int:
    """Return how many batches of at least `least_frames` there are, at most `most` and at least one.

    A fixed number of batches keeps the noise of a step, and so the error at the last frame, low when
    there are many frames; a least size keeps a step's few frames from fighting over the probe.
    """
    return max(1, min(most, n_frames // least_frames))


def batches(slots: NDArray[np.int64], most: int, least_frames: int) -> list[NDArray[np.int64]]:
    """Cut `slots` into batches of nearly equal length, as many as :func:`number_of_batches` says."""
    return np.array_split(slots, number_of_batches(len(slots), most, least_frames))


def compact_batches(
    positions: NDArray[np.float64], slots: NDArray[np.int64], n_batches: int
) -> list[NDArray[np.int64]]:
    """Cut `slots` into `n_batches` of neighbours, of nearly equal length.

    Halved again and again across its longer side, seen along the line between the first two slots: these come in
    random order, so that in an area no border lies at the same place twice.

    Parameters
    ----------
    positions : (capacity, 2) float64
        Of all slots.
    slots : (n,) int64
        In random order.
    n_batches : int

    Returns
    -------
    list of (m,) int64
        Each in the order of `slots`, beginning with that of the first slot.
    """
    if n_batches == 1:
        return [slots]
    here = positions[slots]
    along = here[min(1, len(here) - 1)] - here[0]
    angle = np.arctan2(*along)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    parts = sorted(
        (np.sort(part) for part in _halved(here @ turn, np.arange(len(slots)), n_batches)), key=lambda p: p[0]
    )
    return [slots[part] for part in parts]


def _halved(positions: NDArray[np.float64], members: NDArray[np.int64], n_parts: int) -> list[NDArray[np.int64]]:
    if n_parts == 1:
        return [members]
    mine = positions[members]
    ordered = members[np.argsort(mine[:, np.argmax(np.ptp(mine, axis=0))], kind="stable")]
    left = n_parts // 2
    cut = len(members) * left // n_parts
    return _halved(positions, ordered[:cut], left) + _halved(positions, ordered[cut:], n_parts - left)
