"""Other settings for a solver that is at work: what may change, and what must begin anew with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import SettingsError
from .guard import Guard
from .learnt import forget
from .memory import keep_frames_on_disk
from .probe import scale_power
from .probe_guess import add_modes
from .refinements import Refinement
from .settings import SolverSettings
from .state import ReconState

FIXED = ("subpixel", "pixel_weights", "slices", "slice_distance_m", "motion_m", "seed")
"""Settings that frames and images were laid out by."""


def refuse_fixed(settings: SolverSettings, wanted: SolverSettings) -> None:
    """Raise a SettingsError if `wanted` differs from `settings` in what cannot change any more."""
    for name in FIXED:
        before, after = getattr(settings, name), getattr(wanted, name)
        if before != after:
            raise SettingsError(
                f"solver.{name} is {after!r}; expected {before!r}, as it was when the reconstruction began"
            )


def require_room(budget: int | None, state: ReconState, settings: SolverSettings) -> None:
    """Raise a SettingsError if a reconstruction with `settings` would take more than `budget` bytes."""
    frames = state.frames
    sizes = (len(frames.numbers), state.canvas.shape, frames.window, settings)
    if keep_frames_on_disk(budget, *sizes, backend=state.backend) and not frames.on_disk:
        raise SettingsError(f"memory_budget is {(budget or 0) / 1e6:.0f} MB; expected settings that take less memory")


def adapt(state: ReconState, was: SolverSettings, settings: SolverSettings, old: Sequence[Refinement]) -> None:
    """Bring `state` from settings `was`, with their refinements `old`, to `settings`; what was learnt stays.

    Momentum rests, and what an algorithm remembers belongs to other steps.
    """
    slots = state.frames.slots(lit=True)
    for refinement in old:
        refinement.begin(state, slots, active=False)
    state.excess = None
    if settings.probe_variations != was.probe_variations:
        state.variation = None
    state.detection.poisson = settings.noise == "poisson"
    set_modes(state, settings.modes or 1)
    Guard.of(state).pardon(state)


def set_modes(state: ReconState, modes: int) -> None:
    """Give the probe `modes` modes of the same power altogether: the weakest go, new ones are faint."""
    probe = state.backend.to_host(state.probe)
    if len(probe) == modes:
        return
    power = float(np.sum(np.abs(probe) ** 2, dtype=np.float64))
    state.probe = state.backend.to_device(scale_power(add_modes(probe, modes), power))


def start_again(state: ReconState) -> None:
    """Forget everything but the frames: the object is 1 and the probe dark."""
    xp = state.backend.xp
    state.object, state.probe = xp.ones_like(state.object), xp.zeros_like(state.probe)
    forget(state)
    state.excess = None
    state.rest()
    state.memory.clear()
