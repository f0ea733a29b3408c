"""Keeping the probe modes in order: orthogonal, strongest first, of the right power."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .state import ReconState


def orthogonalise(state: ReconState) -> None:
    """Rotate the modes to be orthogonal, strongest first; the intensities they make do not change.

    Incoherent modes are only defined up to a unitary mixture (Thibault, Menzel 2013).
    """
    modes = state.probe.shape[0]
    if modes == 1:
        return
    xp = state.backend.xp
    flat = xp.reshape(state.probe, (modes, -1))
    gram = state.backend.to_host(flat @ xp.conj(flat).T).astype(np.complex128)
    _, vectors = np.linalg.eigh(gram)
    rotation = vectors[:, ::-1].conj().T
    # a mode's phase is free: keep each near what it was, so that displays do not flicker
    lead = rotation[np.arange(modes), np.abs(rotation).argmax(axis=1)]
    rotation *= (np.abs(lead) / lead)[:, None]
    mix, shape = state.backend.to_device(rotation.astype(np.complex64)), state.probe.shape
    state.probe = xp.reshape(mix @ flat, shape)
    state.probe_velocity = xp.reshape(mix @ xp.reshape(state.probe_velocity, (modes, -1)), shape)


def scale_power(probe: NDArray[np.complex64], photons: float) -> NDArray[np.complex64]:
    """Return `probe` with the sum of ``|probe|**2`` over all modes equal to `photons`."""
    power = float(np.sum(np.abs(probe) ** 2, dtype=np.float64))
    return np.asarray(probe * np.float32(np.sqrt(photons / power)) if power > 0 else probe, dtype=np.complex64)
