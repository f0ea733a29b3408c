"""A probe that differs from frame to frame (orthogonal probe relaxation).

Each frame's strongest mode is the common one plus a few variations with real coefficients of its own
(Odstrčil et al., Opt. Express 24, 8360 (2016); as gradients: Odstrčil, Menzel, Guizar-Sicairos, Opt. Express 26, 3108
(2018), section 3.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend, cpu_count

STEP = 0.5
"""Part of the least-squares step that coefficients and modes take after each pass: both answer to one misfit."""

REGULARISATION = 0.1


class Variation:
    """Variations of the strongest mode and what a pass asks of them.

    Parameters
    ----------
    backend : Backend
    n_modes : int
    window : tuple of int
        Shape of the probe.
    seed : int
        Of the first modes, which are random: a mode without coefficients is not seen, nor the other way round.

    Attributes
    ----------
    modes : (k, ny, nx) complex64 on the device
        Orthogonal and of unit power; `host_modes` are the same on the host.
    coefficients : (capacity, k) float32
    """

    def __init__(self, backend: Backend, n_modes: int, window: tuple[int, int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        first = rng.standard_normal((n_modes, *window, 2)).astype(np.float32).view(np.complex64)[..., 0]
        self.backend, xp = backend, backend.xp
        self.set_modes(first / np.sqrt((np.abs(first) ** 2).sum(axis=(1, 2), keepdims=True)))
        self.coefficients = np.zeros((0, n_modes), np.float32)
        lanes, pixels = cpu_count() if backend.threaded else 1, window[0] * window[1]
        self._wishes = xp.zeros((0, n_modes, 2), dtype=xp.float32)
        self._gradient = xp.zeros((lanes, n_modes, pixels), dtype=xp.complex64)
        self._weight = xp.zeros((lanes, n_modes, pixels), dtype=xp.float32)

    def set_modes(self, modes: NDArray[Any]) -> None:
        """Take `modes` ``(k, ny, nx)``, orthogonal and of unit power."""
        self.host_modes = np.ascontiguousarray(modes, dtype=np.complex64)
        self.modes = self.backend.to_device(np.array(self.host_modes))
        flat = self.host_modes.reshape(len(modes), -1)
        self._ways, self._powers = (self.backend.to_device(each) for each in (flat.conj(), np.abs(flat) ** 2))

    def welcome(self, slots: NDArray[np.int64], capacity: int) -> None:
        """Make room for the coefficients of `capacity` frames; those of `slots`, which are new, are 0."""
        missing = capacity - len(self.coefficients)
        if missing > 0:
            xp, n_modes = self.backend.xp, self.coefficients.shape[1]
            self.coefficients = np.concatenate([self.coefficients, np.zeros((missing, n_modes), np.float32)])
            self._wishes = xp.concat([self._wishes, xp.zeros((missing, n_modes, 2), dtype=xp.float32)], axis=0)
        self.coefficients[slots] = 0

    def clear(self) -> None:
        """Forget what the visits of a pass asked for."""
        self._gradient[...], self._weight[...] = 0, 0

    def of(self, backend: Backend, slots: NDArray[np.int64]) -> Any:
        """Return what each frame adds to the strongest mode, ``(n, ny, nx) complex64``."""
        weights = backend.to_device(self.coefficients[slots].astype(np.complex64))
        flat = backend.xp.reshape(self.modes, (self.modes.shape[0], -1))
        return backend.xp.reshape(weights @ flat, (len(slots), *self.modes.shape[1:]))

    def note(
        self, backend: Backend, slots: NDArray[np.int64], gradient: Any, transmission: Any, *, lane: int = 0
    ) -> None:
        """Remember what frames ask of their strongest mode: `gradient` and `transmission` ``(n, ny, nx)``.

        A device keeps it until :meth:`update`.
        """
        xp, n = backend.xp, len(slots)
        q, t = xp.reshape(gradient, (n, -1)), xp.reshape(transmission, (n, -1))
        backend.put(self._wishes, slots, xp.stack([xp.real(self._ways @ q.T).T, (self._powers @ t.T).T], axis=-1))
        own = np.ascontiguousarray(self.coefficients[slots].T)
        self._gradient[lane, ...] += _times(backend.to_device(own.astype(np.complex64)), q)
        self._weight[lane, ...] += _times(backend.to_device(own**2), t)

    def update(self, slots: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Step coefficients and modes; return what all frames of `slots` have in common, for the probe to take."""
        host, xp = self.backend.to_host, self.backend.xp
        wishes = host(self._wishes)[slots]
        self.coefficients[slots] += STEP * wishes[..., 0] / (wishes[..., 1] + 1e-9)
        sums = (xp.sum(self._gradient, axis=0), xp.sum(self._weight, axis=0))
        gradient, weight = (host(each).reshape(self.host_modes.shape) for each in sums)
        floor = REGULARISATION * weight.max(axis=(1, 2), keepdims=True) + 1e-9
        change = STEP * gradient / (weight + floor)
        # A mode that the frames hardly hold is asked to change without bounds, while they may ask for more of it.
        change /= np.maximum(1, np.sqrt(np.sum(np.abs(change) ** 2, axis=(1, 2), keepdims=True)))
        modes = self.host_modes + change
        common = self.coefficients[slots].mean(axis=0)
        self.coefficients[slots] -= common
        shared = np.einsum("k,kyx->yx", common, modes).astype(np.complex64)
        self._orthogonalise(modes, slots)
        return shared

    def _orthogonalise(self, modes: NDArray[Any], slots: NDArray[np.int64]) -> None:
        """Rotate the modes to be orthogonal, of unit power, those that vary most first; the frames' probes stay."""
        flat = modes.reshape(len(modes), -1).astype(np.complex128)
        # Coefficients are real, so modes count as real vectors of twice the length.
        parts = np.concatenate([flat.real, flat.imag], axis=1)
        vectors, lengths, rows = np.linalg.svd(parts, full_matrices=False)
        amounts = self.coefficients.astype(np.float64) @ (vectors * lengths)
        _, _, turn = np.linalg.svd(amounts[slots], full_matrices=False)
        if turn.shape[0] < turn.shape[1]:  # fewer frames than modes
            turn = np.eye(turn.shape[1])
        self.coefficients[:] = amounts @ turn.T
        rows = turn @ rows
        half = rows.shape[1] // 2
        self.set_modes((rows[:, :half] + 1j * rows[:, half:]).reshape(modes.shape))


def _times(a: Any, b: Any) -> Any:
    """Return the matrix product; of one column and one row without BLAS, which takes ten times as long for it."""
    return a * b if b.shape[0] == 1 else a @ b
