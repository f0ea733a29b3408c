"""Patterns with one flaw each, made without the package's forward model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bluesky_ptycho.frames import Batch

from .small_problem import SIZE, make_problem


def fourier_shifted(image, shift):
    """Return `image` moved by a subpixel `shift` (y, x)."""
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None, :]
    return np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (fy * shift[0] + fx * shift[1])))


class Flawed:
    """A small problem whose frames are made one by one.

    Parameters
    ----------
    photons : float
        Of a frame.
    probe_of : callable, optional
        Takes a frame's number, returns its probes ``(m, ny, nx)``.
    shifts : (n, 2) array, optional
        How far the true positions lie from the stated ones, in pixels.
    gain : (n,) array, optional
        Factor of the amplitudes.
    background : (ny, nx) array, optional
        Photons added to each frame, zero frequency in the middle.
    change : callable, optional
        Makes the object of the problem's.
    """

    def __init__(
        self, photons=3e5, probe_of=None, shifts=None, gain=None, background=None, seed=1, n_side=9, change=None
    ):
        rng = np.random.default_rng(seed)
        base = make_problem(photons=None, n_side=n_side, step=3, seed=seed)
        base = base if change is None else replace(base, object=change(base.object).astype(np.complex64))
        self.base, n = base, len(base.corners)
        scale = np.sqrt(photons / 1e6)
        patterns = []
        for i, (r, c) in enumerate(base.corners):
            probes = (base.probe[None] if probe_of is None else probe_of(i, base.probe)) * scale
            if shifts is not None:
                probes = np.stack([fourier_shifted(p, shifts[i]) for p in probes])
            window = base.object[r : r + SIZE, c : c + SIZE]
            waves = np.fft.fftshift(np.fft.fft2(probes * window, norm="ortho"), axes=(1, 2))
            expected = np.sum(np.abs(waves) ** 2, axis=0) * (1 if gain is None else gain[i] ** 2)
            patterns.append(rng.poisson(expected + (0 if background is None else background)))
        self.batch = Batch(
            np.arange(n) + 1,
            base.positions_m,
            np.sqrt(np.array(patterns)).astype(np.float32),
            np.ones((SIZE, SIZE), bool),
        )

    def solve(self, passes=120, backend="numpy", probe=None, **settings):
        solver = self.base.solver(backend=backend, probe=probe, **settings)
        solver.add(self.batch)
        solver.step(passes)
        return solver

    def error(self, solver):
        return self.base.error(solver)
