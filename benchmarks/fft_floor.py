"""The time that ptychography cannot go below: one Fourier transform forward and one back for each frame.

The fastest library wins: pyFFTW with a plan for each thread (as the package plans, and patiently without a limit),
and scipy.fft with its own threads or one frame a thread. All work on complex64, in place where they can.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import scipy.fft

from bluesky_ptycho.planned_fft import PlannedFFT, has_fftw

Pair = Callable[[], Any]
"""Transforms the frame of one thread forward and back."""


class FFTFloor:
    """Times the contenders; remembers the best of each.

    Parameters
    ----------
    window : int
        Side of a frame.
    threads : int
        Python threads, a frame each.
    frames : int
        Frames of one timing.
    """

    def __init__(self, window: int, threads: int, frames: int = 256) -> None:
        self._threads, self._frames = threads, -(-frames // threads) * threads
        self._pool = ThreadPoolExecutor(threads)
        shape = (window, window)
        pairs = {"scipy.fft, one frame a thread": [_scipy_pair(shape) for _ in range(threads)]}
        if has_fftw():
            pairs["pyFFTW, FFTW_PATIENT"] = [_patient_pair(shape) for _ in range(threads)]
            _forget_plans()
            pairs["pyFFTW, as the package plans"] = [_package_pair(shape) for _ in range(threads)]
        self._runs: dict[str, Callable[[], None]] = {name: self._shared(each) for name, each in pairs.items()}
        self._runs["scipy.fft, its own threads"] = self._scipy_workers(shape)
        self.ms_per_frame: dict[str, float] = dict.fromkeys(self._runs, float("inf"))
        for run in self._runs.values():
            run()

    def measure(self) -> float:
        """Time every contender once; return the ms a frame of the fastest this time."""
        now = {}
        for name, run in self._runs.items():
            began = time.perf_counter()
            run()
            now[name] = 1e3 * (time.perf_counter() - began) / self._frames
            self.ms_per_frame[name] = min(now[name], self.ms_per_frame[name])
        return min(now.values())

    @property
    def best(self) -> tuple[str, float]:
        """Fastest library so far and its ms a frame."""
        name = min(self.ms_per_frame, key=self.ms_per_frame.__getitem__)
        return name, self.ms_per_frame[name]

    def _shared(self, pairs: list[Pair]) -> Callable[[], None]:
        def work(pair: Pair) -> None:
            for _ in range(self._frames // self._threads):
                pair()

        def run() -> None:
            for _ in self._pool.map(work, pairs):
                pass

        return run

    def _scipy_workers(self, shape: tuple[int, int]) -> Callable[[], None]:
        stack = np.zeros((8 * self._threads, *shape), np.complex64)

        def run() -> None:
            for first in range(0, self._frames, len(stack)):
                some = stack[: min(len(stack), self._frames - first)]
                there = scipy.fft.fft2(some, workers=self._threads, overwrite_x=True)
                scipy.fft.ifft2(there, workers=self._threads, overwrite_x=True, norm="forward")

        return run

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _package_pair(shape: tuple[int, int]) -> Pair:
    fft = PlannedFFT(shape)

    def pair() -> None:
        fft.forward()
        fft.inverse()

    return pair


def _patient_pair(shape: tuple[int, int]) -> Pair:
    import pyfftw

    buffer = pyfftw.zeros_aligned(shape, np.complex64)
    there, back = (
        pyfftw.FFTW(buffer, buffer, axes=(0, 1), direction=d, flags=("FFTW_PATIENT",))
        for d in ("FFTW_FORWARD", "FFTW_BACKWARD")
    )
    buffer[:] = 0

    def pair() -> None:
        there.execute()
        back.execute()

    return pair


def _forget_plans() -> None:
    """Make FFTW forget, else the package would plan with what was learnt here."""
    import pyfftw

    pyfftw.forget_wisdom()


def _scipy_pair(shape: tuple[int, int]) -> Pair:
    buffer = np.zeros(shape, np.complex64)

    def pair() -> None:
        there = scipy.fft.fft2(buffer, overwrite_x=True)
        scipy.fft.ifft2(there, overwrite_x=True, norm="forward")

    return pair
