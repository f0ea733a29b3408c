"""Engines: run an algorithm's visit over frames, and hold the sums it makes.

An algorithm sees lanes. A lane offers the steps of one visit (``probes``, ``exit_waves``,
``project``, ``accumulate``) on a chunk of frames. The host engine has one lane per core and
chunks of one frame, whose buffers stay in the core's cache; a device engine has one lane and
takes a whole batch as one chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend, PlannedFFT, cpu_count
from . import reference
from .state import ReconState
from .subpixel import FIRST_TAP, N_TAPS

Slots = NDArray[np.int64]


class Lane(Protocol):
    """What a visit works with; arrays are ``(n, m, ny, nx)`` or one frame's ``(m, ny, nx)``."""

    error: float

    def probes(self, state: ReconState, slots: Slots) -> Any:
        """Return the probe shifted to each frame's subpixel position."""

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> Any:
        """Return probe times object window."""

    def measure(self, state: ReconState, slots: Slots, waves: Any) -> Any:
        """Transform to the detector and add to `error`; return projected far-field waves (`waves` is used up)."""

    def project(self, state: ReconState, slots: Slots, waves: Any) -> Any:
        """Return the exit waves with the measured modulus (in place where that is cheaper); adds to `error`."""

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add what `waves` ask of object and probe to the sums; `waves` is used up."""


Visit = Callable[[Lane, Slots], None]


class Engine(Protocol):
    """Runs visits, then steps object and probe by what the lanes have summed."""

    def warm_up(self, state: ReconState) -> None:
        """Allocate, plan and compile for `state`."""

    def run(self, state: ReconState, slots: Slots, visit: Visit) -> float:
        """Visit all frames; return the error they added."""

    def step_object(self, state: ReconState, step: float, regularisation: float, momentum: float) -> None:
        """Step the object by the sums and clear them."""

    def step_probe(self, state: ReconState, step: float, regularisation: float, momentum: float) -> None:
        """Step the probe by the sums and clear them."""

    def clear_probe(self) -> None:
        """Forget the probe's sums."""

    def clear(self) -> None:
        """Forget the sums."""

    def close(self) -> None:
        """End its threads."""


def make_engine(backend: Backend) -> Engine:
    """Return the fastest engine for `backend`."""
    return HostEngine() if backend.threaded else ArrayEngine(backend)


class ArrayEngine:
    """Array-module engine for devices, and the reference of the host engine.

    Parameters
    ----------
    backend : Backend
    chunk_bytes : int
        Bound of one temporary of a chunk.
    """

    def __init__(self, backend: Backend, chunk_bytes: int = 1 << 28) -> None:
        self.backend = backend
        self.chunk_bytes = chunk_bytes
        self.error: Any = 0.0
        self._sums: tuple[Any, ...] | None = None

    def warm_up(self, state: ReconState) -> None:
        """Allocate the sums."""
        self._ensure(state)

    def _ensure(self, state: ReconState) -> tuple[Any, ...]:
        xp = self.backend.xp
        if self._sums is None or self._sums[0].shape != state.object.shape or self._sums[2].shape != state.probe.shape:
            window = state.probe.shape[-2:]
            self._sums = (
                xp.zeros(state.object.shape, dtype=xp.complex64),
                xp.zeros(state.object.shape, dtype=xp.float32),
                xp.zeros(state.probe.shape, dtype=xp.complex64),
                xp.zeros(window, dtype=xp.float32),
            )
        return self._sums

    def clear_probe(self) -> None:
        """Forget the probe's sums."""
        if self._sums is not None:
            self._sums[2][...], self._sums[3][...] = 0, 0

    def clear(self) -> None:
        """Forget the sums."""
        self._sums = None

    def close(self) -> None:
        """Do nothing: there are no threads."""

    def run(self, state: ReconState, slots: Slots, visit: Visit) -> float:
        """Visit all frames in chunks that fit `chunk_bytes`."""
        self._ensure(state)
        self.error = 0.0
        frame_bytes = 8 * int(np.prod(state.probe.shape))
        chunk = max(1, self.chunk_bytes // frame_bytes)
        for start in range(0, len(slots), chunk):
            visit(self, slots[start : start + chunk])
        return float(self.error)

    def probes(self, state: ReconState, slots: Slots) -> Any:
        """Shift the probe for each frame."""
        xp = self.backend.xp
        if not state.frames.fractional[slots].any():
            return xp.broadcast_to(state.probe[None, ...], (len(slots), *state.probe.shape))
        return reference.shift_probe(xp, state.probe, self.backend.to_device(state.frames.taps[slots]))

    def _windows(self, state: ReconState, slots: Slots) -> Any:
        return self.backend.gather(state.object, state.frames.corners[slots], state.probe.shape[-2:])

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> Any:
        """Multiply by the object's windows."""
        return reference.exit_waves(probes, self._windows(state, slots))

    def measure(self, state: ReconState, slots: Slots, waves: Any) -> Any:
        """Transform and give the measured modulus."""
        amplitude = state.frames.amplitude_of(slots)
        far, error = reference.project_modulus(self.backend.xp, self.backend.fft2(waves), amplitude)
        self.error = self.error + error
        return far

    def project(self, state: ReconState, slots: Slots, waves: Any) -> Any:
        """Transform, give the measured modulus, transform back."""
        return self.backend.ifft2(self.measure(state, slots, waves))

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add the chunk's gradients to the sums."""
        xp, frames = self.backend.xp, state.frames
        gradient, illumination, probe_sum, transmission = self._ensure(state)
        g, w, q, t = reference.pie_gradients(xp, probes, self._windows(state, slots), waves)
        if frames.fractional[slots].any():
            q = reference.shift_probe(xp, q, self.backend.to_device(frames.taps[slots]), adjoint=True)
        self.backend.scatter_add(gradient, frames.corners[slots], g)
        self.backend.scatter_add(illumination, frames.corners[slots], w)
        probe_sum += xp.sum(q, axis=0)
        transmission += xp.sum(t, axis=0)

    def step_object(self, state: ReconState, step: float, regularisation: float, momentum: float) -> None:
        """Step the object."""
        g, w = self._ensure(state)[:2]
        state.object, state.object_velocity = reference.weighted_step(
            self.backend.xp, state.object, state.object_velocity, g, w, step, regularisation, momentum
        )
        g[...], w[...] = 0, 0

    def step_probe(self, state: ReconState, step: float, regularisation: float, momentum: float) -> None:
        """Step the probe."""
        g, w = self._ensure(state)[2:]
        state.probe, state.probe_velocity = reference.weighted_step(
            self.backend.xp, state.probe, state.probe_velocity, g, w, step, regularisation, momentum
        )
        g[...], w[...] = 0, 0


class HostLane:
    """One core's buffers; chunks are single frames."""

    def __init__(self, engine: HostEngine, index: int, shape: tuple[int, int, int]) -> None:
        from . import kernels

        self.kernels = kernels
        self.engine, self.index = engine, index
        self.fft = PlannedFFT(shape)
        self.shifted = np.zeros(shape, np.complex64)
        self.back = padded_like(shape)
        nx = shape[-1]
        self.row = np.zeros(2 * (nx + N_TAPS - 1), np.float32)
        self.error = 0.0

    def probes(self, state: ReconState, slots: Slots) -> NDArray[np.complex64]:
        """Return the shifted probe, the probe itself for a whole-pixel position."""
        slot = slots[0]
        if not state.frames.fractional[slot]:
            return state.probe
        padded = self.engine.padded
        self.kernels.shift_probe(pairs(padded), state.frames.taps[slot], self.row, pairs(self.shifted), False)
        return self.shifted

    def exit_waves(self, state: ReconState, slots: Slots, probes: Any) -> NDArray[np.complex64]:
        """Multiply into the transform's buffer."""
        r, c = state.frames.corners[slots[0]]
        self.kernels.exit_waves(probes, state.object, r, c, self.fft.buffer)
        return self.fft.buffer

    def measure(self, state: ReconState, slots: Slots, waves: Any) -> NDArray[np.complex64]:
        """Transform and project in the lane's buffer."""
        if waves is not self.fft.buffer:
            self.fft.buffer[:] = waves
        self.fft.forward()
        self.error += self.kernels.project_modulus(self.fft.buffer, state.frames.amplitude[slots[0]], self.row)
        return self.fft.buffer

    def project(self, state: ReconState, slots: Slots, waves: Any) -> NDArray[np.complex64]:
        """Transform, project, transform back in the lane's buffer."""
        self.measure(state, slots, waves)
        self.fft.inverse()
        return self.fft.buffer

    def accumulate(self, state: ReconState, slots: Slots, probes: Any, waves: Any) -> None:
        """Add the frame's gradients to the lane's sums."""
        slot, sums, i = slots[0], self.engine.sums, self.index
        r, c = state.frames.corners[slot]
        fractional = state.frames.fractional[slot]
        # the adjoint of a filter is the filter reversed, so the frame around the data is reversed too
        out, first = (self.back, -FIRST_TAP) if fractional else (waves, 0)
        self.kernels.pie_gradients(
            pairs(probes), pairs(state.object), r, c, pairs(waves),
            pairs(sums.gradient[i, 0]), sums.illumination[i], sums.transmission[i], pairs(out), first,
        )  # fmt: skip
        if fractional:
            taps = np.ascontiguousarray(state.frames.taps[slot][:, ::-1])
            self.kernels.shift_probe(pairs(self.back), taps, self.row, pairs(sums.probe[i]), True)
        else:
            sums.probe[i] += waves


class Sums:
    """Per-lane sums of the host engine: object gradient and illumination, probe gradient and transmission."""

    def __init__(self, lanes: int, canvas: tuple[int, ...], probe: tuple[int, ...]) -> None:
        self.gradient = np.zeros((lanes, 1, *canvas), np.complex64)
        self.illumination = np.zeros((lanes, *canvas), np.float32)
        self.probe = np.zeros((lanes, *probe), np.complex64)
        self.transmission = np.zeros((lanes, *probe[-2:]), np.float32)


class HostEngine:
    """NumPy arrays, fused kernels, one lane per core.

    Frames are dealt to lanes by their order alone, so that equal inputs give equal results.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or cpu_count()
        self.lanes: list[HostLane] = []
        self._seen = False
        self._pool: ThreadPoolExecutor | None = None

    def warm_up(self, state: ReconState) -> None:
        """Plan the transforms (FFTW measures), allocate and start the threads."""
        self._ensure(state)

    def _ensure(self, state: ReconState) -> None:
        probe, canvas = state.probe.shape, state.object.shape
        if not self.lanes or self.lanes[0].shifted.shape != probe:
            self.lanes = [HostLane(self, i, probe) for i in range(self.threads)]
            self.padded = padded_like(probe)
            self.sums = Sums(self.threads, canvas, probe)
        if self.sums.gradient.shape[-2:] != canvas:
            self.sums = Sums(self.threads, canvas, probe)
        if self._pool is None and self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="ptycho-lane")

    def clear_probe(self) -> None:
        """Forget the probe's sums."""
        self.sums.probe[...], self.sums.transmission[...] = 0, 0

    def clear(self) -> None:
        """Forget the sums."""
        if self.lanes:
            for array in vars(self.sums).values():
                array[...] = 0

    def close(self) -> None:
        """End the threads; a later run starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def run(self, state: ReconState, slots: Slots, visit: Visit) -> float:
        """Deal the frames to the lanes and wait for all of them."""
        self._ensure(state)
        ny, nx = state.probe.shape[-2:]
        last = N_TAPS - 1 + FIRST_TAP
        self.padded[:, last : last + ny, last : last + nx] = state.probe
        if not self._seen:
            # The first call of a kernel registers its argument types in numba, which two threads must not do at once.
            self._seen = True
            return sum(self._work(lane, slots, visit) for lane in self.lanes)
        waiting = []
        for lane in self.lanes[1:]:
            if self._pool is not None and lane.index < len(slots):
                waiting.append(self._pool.submit(self._work, lane, slots, visit))
        error = self._work(self.lanes[0], slots, visit)
        return error + sum(future.result() for future in waiting)

    def _work(self, lane: HostLane, slots: Slots, visit: Visit) -> float:
        lane.error = 0.0
        for i in range(lane.index, len(slots), self.threads):
            visit(lane, slots[i : i + 1])
        return lane.error

    def step_object(self, state: ReconState, step: float, regularisation: float, momentum: float) -> None:
        """Step the object in place."""
        from . import kernels

        target, velocity, sums = state.object[None], state.object_velocity[None], self.sums
        kernels.weighted_step(target, velocity, sums.gradient, sums.illumination, step, regularisation, momentum)

    def step_probe(self, state: ReconState, step: float, regularisation: float, momentum: float) -> None:
        """Step the probe in place."""
        from . import kernels

        target, velocity, sums = state.probe, state.probe_velocity, self.sums
        kernels.weighted_step(target, velocity, sums.probe, sums.transmission, step, regularisation, momentum)


def pairs(a: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return complex `a` as float32 with real and imaginary parts side by side in the last axis."""
    return a.view(np.float32)


def padded_like(shape: tuple[int, int, int]) -> NDArray[np.complex64]:
    """Return zeros with the rows and columns that the shift filter reaches for around `shape`."""
    return np.zeros((shape[0], shape[1] + N_TAPS - 1, shape[2] + N_TAPS - 1), np.complex64)
