"""From stage position to far field: probe times sample, Fourier transformed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ..geometry import Canvas, Geometry
from ..scan_plan import Illumination
from .probe import zone_plate_probe
from .samples import Sample

MARGIN_PX = 256
"""The transmission is computed this far beyond the window asked for, since scans move on."""

MAX_CACHED_PX = 64_000_000


@dataclass(frozen=True)
class Tile:
    """Transmission of pixels ``first .. first + shape`` of the grid that is fixed to the stage."""

    first: tuple[int, int]
    transmission: NDArray[np.complex64]

    def holds(self, first: NDArray[np.intp], last: NDArray[np.intp]) -> bool:
        """Tell whether pixels ``first .. last - 1`` lie in the tile."""
        origin = np.array(self.first)
        return bool((first >= origin).all() and (last <= origin + self.transmission.shape).all())


class Diffraction:
    """The wave at the camera for any stage position.

    The sample is known on a grid with the object pixel of the camera's far field, fixed to the
    stage; subpixel positions are exact, because the probe is shifted to them in Fourier space.

    Parameters
    ----------
    geometry : Geometry
        Pixels of the camera (unbinned); object pixel and window follow from it.
    illumination : Illumination
        The zone plate.
    sample : Sample
        The sample.
    support_px : int
        The probe is cut to this many pixels, at most those of the camera.
    axis_px : float
        Where the optical axis meets the camera, in pixels beyond ``[ny // 2, nx // 2]``.
    """

    def __init__(
        self,
        geometry: Geometry,
        illumination: Illumination,
        sample: Sample,
        *,
        support_px: int = 480,
        axis_px: float = 0.0,
    ) -> None:
        self.geometry, self.sample = geometry, sample
        self._pixel = np.array(geometry.object_pixel_m)
        full = zone_plate_probe(geometry.shape, geometry.object_pixel_m, geometry.wavelength_m, illumination)
        self._support = tuple(min(support_px, n) for n in geometry.shape)
        corners = [(n - s) // 2 + (n % 2 and not s % 2) for n, s in zip(geometry.shape, self._support, strict=True)]
        cut = full[tuple(slice(c, c + s) for c, s in zip(corners, self._support, strict=True))]
        self._spectrum = fft.fft2(cut / np.linalg.norm(cut)).astype(np.complex64)
        self._frequency = [fft.fftfreq(s).astype(np.float32) for s in self._support]
        # These phases move the zero frequency of the transform from [0, 0] to the optical axis.
        centres = [n // 2 + axis_px for n in geometry.shape]
        phases = [
            np.exp(2j * np.pi * np.arange(s) * c / n)
            for s, c, n in zip(self._support, centres, geometry.shape, strict=True)
        ]
        self._centring = np.multiply.outer(*phases).astype(np.complex64)
        self._tile: Tile | None = None
        self._lock = threading.Lock()

    def probe(self, shift_px: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Return the probe, of unit power, shifted by ``(y, x)`` pixels."""
        ramps = [np.exp(np.complex64(-2j * np.pi * s) * f) for s, f in zip(shift_px, self._frequency, strict=True)]
        shifted = fft.ifft2(self._spectrum * ramps[0][:, None] * ramps[1][None, :], overwrite_x=True)
        return np.asarray(shifted)

    def field(self, position_m: tuple[float, float]) -> NDArray[np.complex64]:
        """Return the wave at the camera, ``geometry.shape``; its squares sum to the power that passes.

        Rows and columns run along +q_y and +q_x, the zero frequency lies on the optical axis.
        """
        where = np.asarray(position_m, dtype=np.float64) / self._pixel
        nearest = np.rint(where)
        support = np.array(self._support)
        first = nearest.astype(np.intp) - support // 2
        tile = self._tile_for(first, first + support)
        row, column = first - np.array(tile.first)
        window = tile.transmission[row : row + support[0], column : column + support[1]]
        wave = self.probe(where - nearest) * self._centring
        wave *= window
        # Two passes, of which the first transforms only the rows that hold light.
        ny, nx = self.geometry.shape
        wave = fft.fft(wave, n=nx, axis=1, norm="ortho", overwrite_x=True)
        return np.asarray(fft.fft(wave, n=ny, axis=0, norm="ortho", overwrite_x=True))

    def cover(self, positions_m: NDArray[np.float64]) -> None:
        """Compute the transmission around ``(n, 2)`` positions, so that :meth:`field` finds it."""
        where = np.rint(np.asarray(positions_m) / self._pixel).astype(np.intp)
        half = np.array(self._support) // 2 + 1
        self._tile_for(where.min(axis=0) - half, where.max(axis=0) + half)

    def truth(self, canvas: Canvas) -> NDArray[np.complex64]:
        """Return the transmission at the pixels of a canvas."""
        return self.sample.transmission(*canvas.coordinates_m(), self.geometry.energy_ev)

    def _tile_for(self, first: NDArray[np.intp], last: NDArray[np.intp]) -> Tile:
        tile = self._tile
        if tile is not None and tile.holds(first, last):
            return tile
        with self._lock:
            if self._tile is None or not self._tile.holds(first, last):
                self._tile = self._make_tile(first - MARGIN_PX, last + MARGIN_PX)
            return self._tile

    def _make_tile(self, first: NDArray[np.intp], last: NDArray[np.intp]) -> Tile:
        if self._tile is not None:
            origin = np.array(self._tile.first)
            low, high = np.minimum(first, origin), np.maximum(last, origin + self._tile.transmission.shape)
            if np.prod(high - low) <= MAX_CACHED_PX:
                first, last = low, high
        y, x = (np.arange(a, b) * p for a, b, p in zip(first, last, self._pixel, strict=True))
        transmission = self.sample.transmission(y, x, self.geometry.energy_ev)
        return Tile((int(first[0]), int(first[1])), transmission)
