"""Engines: run an algorithm's visit over frames, and hold the sums it makes.

An algorithm sees lanes. A lane offers the steps of one visit (``probes``, ``exit_waves``,
``project``, ``accumulate``, …) on a chunk of frames. The host engine has one lane per core and
chunks of one frame, whose buffers stay in the core's cache; a device engine has one lane and
takes a whole batch as one chunk.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend
from .reference import Coefficients
from .state import ReconState

Slots = NDArray[np.int64]


@dataclass(frozen=True)
class Directions:
    """Where the sums of a run ask object and probe to go; good until the engine's next run.

    Attributes
    ----------
    object : (rows, cols) complex64
    probe : (modes, ny, nx) complex64
        Preconditioned, as :func:`reference.direction` makes them of `object_gradient` and `probe_gradient`.
    object_slope, object_curvature, probe_slope, probe_curvature : float, or scalar on the device
        Of the waves' misfit along them. Nothing that is asked of an engine waits for these.
    """

    object: Any
    probe: Any
    object_gradient: Any
    probe_gradient: Any
    object_slope: Any
    object_curvature: Any
    probe_slope: Any
    probe_curvature: Any


class Lane(Protocol):
    """What a visit works with; arrays are ``(n, m, ny, nx)`` or one frame's ``(m, ny, nx)``.

    Attributes
    ----------
    total : float
        What a run returns: the misfits, or what else the visits add up.
    """

    total: Any

    def probes(self, state: ReconState, slots: Slots) -> Any:
        """Return the probe as it meets each frame: varied and shifted to its subpixel position."""

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> Any:
        """Return probe times object window."""

    def measure(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> Any:
        """Take waves to the detector and move them towards the data; adds the misfit to `total`; uses `waves` up."""

    def project(self, state: ReconState, slots: Slots, waves: Any, strength: float = 1.0) -> Any:
        """Do as `measure` and come back; returns exit waves (in place where that is cheaper)."""

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add what `waves` ask of object and probe to the sums; uses `waves` up."""

    def blend(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, of_product: float, of_stored: float
    ) -> Any:
        """Return ``of_product`` times the exit waves plus ``of_stored`` times what is stored of the frames."""

    def relay(
        self, state: ReconState, slots: Slots, probes: Any, stored: Any, waves: Any, keep: Coefficients,
        give: Coefficients,
    ) -> Any:  # fmt: skip
        """Store and return combinations of stored waves, `waves` and exit waves, as `reference.relay` has them."""

    def couple(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add Re <dO P, O dP> to `total`: how far the two directions do the same to the exit waves."""

    def bend(self, state: ReconState, slots: Slots, probes: Any, found: Directions) -> None:
        """Add the misfit's Gauss-Newton curvature along both directions together to `total`."""


Visit = Callable[[Lane, Slots], None]


@dataclass(frozen=True)
class PassForm:
    """What the orders that a pass gives to a device depend on, but for the order of the frames.

    Attributes
    ----------
    values : tuple
        Compared by what they are.
    arrays : tuple of weak references to arrays, or None
        Compared by where they lie. A form keeps no array: one that is gone is never the same again.
    """

    values: tuple[Any, ...]
    arrays: tuple[Any, ...]

    @classmethod
    def of(cls, values: tuple[Any, ...], arrays: Sequence[Any]) -> PassForm:
        """Return the form of these values and arrays; None stands for an array that there is none of."""
        return cls(values, tuple(None if array is None else weakref.ref(array) for array in arrays))

    def with_values(self, *more: Any) -> PassForm:
        """Return a form that depends on `more`, too."""
        return PassForm((*self.values, *more), self.arrays)

    def is_same(self, other: PassForm) -> bool:
        """Tell whether a pass of the one form gives the same orders as one of the other."""
        if self.values != other.values or len(self.arrays) != len(other.arrays):
            return False
        pairs = zip(self.arrays, other.arrays, strict=True)
        return all(a is b if a is None or b is None else a() is not None and a() is b() for a, b in pairs)


class Engine(Protocol):
    """Runs visits, then steps object and probe by what the lanes have summed."""

    def warm_up(self, state: ReconState) -> None:
        """Allocate, plan and compile for `state`."""

    def run(self, state: ReconState, slots: Slots, visit: Visit, found: Directions | None = None) -> Any:
        """Visit all frames; return what they added to the lanes' totals. `found` is what `couple` and `bend` get.

        The total may be a scalar on the device, for which ``float`` waits.
        """

    def directions(self, state: ReconState, object_regularisation: float, probe_regularisation: float) -> Directions:
        """Return where the sums since the last `advance` or `clear` ask object and probe to go."""

    def best_steps(self, found: Directions, coupling: Any | None, share: float, most: float) -> tuple[Any, Any | None]:
        """Return `share` of the steps that serve the waves best, each at most `most`; see `reference.best_steps`.

        `coupling` is the total of a run of `couple`; None where the probe is held, whose step is None then.
        """

    def advance(
        self, state: ReconState, found: Directions, object_step: Any, probe_step: Any | None, momentum: float = 0.0
    ) -> None:
        """Step along `found` and clear the sums; a probe step of None leaves the probe and its velocity alone.

        Steps are floats, or scalars where the arrays are.
        """

    def read_notes(self, state: ReconState) -> None:
        """Bring to the frame store what the visits since last time have noted of its frames; a device waits for it."""

    def form_of(self, state: ReconState) -> PassForm | None:
        """Return the form of a pass over `state`; None where passes cannot be recorded, see :mod:`replays`."""

    def clear(self) -> None:
        """Forget the sums."""

    def close(self) -> None:
        """End its threads."""


class RecordingEngine(Engine, Protocol):
    """An engine whose passes can be recorded."""

    def follow(self, slots: Slots) -> tuple[Slots, Any]:
        """Return copies of `slots`, ``(n,) int64`` on the host and ``(n,) int32`` on the device.

        Batches that are slices of the first need no upload.
        """

    def take_notes(self) -> list[Any]:
        """Return what visits have noted of frames and was not read, and forget it.

        Each is a frame store, the name of its array, the slots ``(n,)`` and values ``(n, k)`` on the device.
        """

    def give_notes(self, notes: list[Any]) -> None:
        """Have noted what :meth:`take_notes` returned."""


Algorithm = Callable[[ReconState, Engine, Slots, Any], Any]
"""What the registry of algorithms holds; see :mod:`bluesky_ptycho.recon.algorithms`. It returns the pass's error, a
float or a scalar on the device."""


def make_engine(backend: Backend, between: Any = None) -> Engine:
    """Return the fastest engine for `backend`; `between` is what :class:`multislice.MultisliceEngine` takes."""
    if between is not None:
        from .multislice import MultisliceEngine

        return MultisliceEngine(backend, between)
    if backend.cuda:
        from .device_engine import DeviceEngine

        return DeviceEngine(backend)
    if backend.threaded:
        from .host_engine import HostEngine

        return HostEngine()
    from .array_engine import ArrayEngine

    return ArrayEngine(backend)
