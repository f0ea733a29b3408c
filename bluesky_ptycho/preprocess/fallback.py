"""Cleaning that outlives its device: fewer frames at once where memory runs out, then the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import CleanFrames
from .pipeline import Pipeline

NUMPY = "numpy"


class FallbackPipeline:
    """A :class:`Pipeline`, with all that one has, which is replaced by one on the CPU where not even a frame fits.

    Parameters
    ----------
    make : callable
        ``make(backend)`` returns the pipeline.
    backend : str
        What was asked for.
    note : callable
        Takes a message for the user.
    """

    def __init__(self, make: Callable[[str], Pipeline], backend: str, note: Callable[[str], None]) -> None:
        self._make, self._backend, self._note = make, backend, note
        try:
            self._pipeline = make(backend)
        except MemoryError:
            self._pipeline = self._on_cpu()

    def _on_cpu(self) -> Pipeline:
        self._backend = NUMPY
        self._note("the device has too little memory to clean frames: they are cleaned on the CPU")
        return self._make(NUMPY)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def warm_up(self) -> None:
        """Compile before the first frame needs it."""
        try:
            self._pipeline.warm_up()
        except MemoryError:
            if self._backend == NUMPY:
                raise
            self._pipeline = self._on_cpu()
            self._pipeline.warm_up()

    def __call__(self, frames: NDArray[Any], darks: Any = None) -> CleanFrames:
        """Clean frames ``(n, K, H, W)``, in smaller parts where they do not fit."""
        try:
            return self._pipeline(frames, darks)
        except MemoryError:
            if len(frames) > 1:
                half = len(frames) // 2
                return _joined(self(frames[:half], darks), self(frames[half:], darks))
            if self._backend == NUMPY:
                raise
        self._pipeline.close()
        self._pipeline = self._on_cpu()
        return self._pipeline(frames, darks)


def _joined(first: CleanFrames, second: CleanFrames) -> CleanFrames:
    later = {len(first.photons) + row: reason for row, reason in second.rejected.items()}
    weights = None if first.weight is None or second.weight is None else [first.weight, second.weight]
    return CleanFrames(
        photons=np.concatenate([first.photons, second.photons]),
        mask=np.concatenate([first.mask, second.mask]),
        rejected={**first.rejected, **later},
        dark_corrected=first.dark_corrected and second.dark_corrected,
        flux=np.concatenate([first.flux, second.flux]),
        weight=None if weights is None else np.concatenate(weights),
    )
