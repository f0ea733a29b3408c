"""The immutable types that travel between reading, preprocessing and solving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Canvas, Geometry


@dataclass(frozen=True)
class Acquisition:
    """What a detector is told before it takes the frames of one stream.

    Plans hand it to ``bps.prepare(detector, acquisition)``. With ``stream=None`` nothing is
    opened: a simulated camera renders the frames ahead, a real one ignores it. With a stream
    name the detector closes the file of the stream before and opens the next one.

    Parameters
    ----------
    stream : str or None
        "primary", "dark" or None (rehearsal).
    n_events : int
        Events (scan points or dark points) to come.
    exposures_s : tuple of float
        One frame is taken for each, in this order, at every event.
    positions : ndarray (n_events, 2) float64 or None
        Planned positions ``(y, x)`` in the motors' own units; None for darks.
    label : str
        Sample name; `paths.ScanPaths.file(stream, label)` makes the file name of it.
    """

    stream: str | None
    n_events: int
    exposures_s: tuple[float, ...]
    positions: NDArray[np.float64] | None = None
    label: str = "scan"


@dataclass(frozen=True)
class CleanFrames:
    """Frames after preprocessing.

    Parameters
    ----------
    photons : ndarray (n, ny, nx) float32
        Photons per pixel, zero frequency at ``[ny // 2, nx // 2]``.
    mask : ndarray (n, ny, nx) bool
        True where the pixel is valid.
    rejected : mapping of int to str
        Row in this chunk → reason, for frames that must not reach the solver.
    dark_corrected : bool
        False where no fitting dark model was there.
    flux : ndarray (n,) float64
        Photons above the even background; beside those of the other frames of a scan they tell which are dim.
    weight : ndarray (n, ny, nx) float32 or None
        Where exposures of different times were merged: variance of as many photons in the longest one over that of the
        pixel, 0 to 1.
    """

    photons: NDArray[np.float32]
    mask: NDArray[np.bool_]
    rejected: Mapping[int, str]
    dark_corrected: bool
    flux: NDArray[np.float64]
    weight: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Batch:
    """Frames for the solver.

    Parameters
    ----------
    seq_nums : ndarray (n,) int64
        Index of the scan point (the frame index each event carries / frames per point).
    positions_m : ndarray (n, 2) float64
        Stage positions ``(y, x)`` of the beam axis in m.
    amplitude : ndarray (n, ny, nx) float32
        Square root of the photons per pixel (negative photons count as 0).
    mask : ndarray (n, ny, nx) bool or (ny, nx) bool
        True where the pixel is valid.
    weight : ndarray (n, ny, nx) or (ny, nx) float32, optional
        Share of a pixel's misfit that counts, 0 to 1: below 1 where it was measured worse than photon noise lets
        expect (a short exposure that stands in for a saturated long one). 0 is as if masked; the rest counts with
        ``SolverSettings(pixel_weights=True)``.
    """

    seq_nums: NDArray[np.int64]
    positions_m: NDArray[np.float64]
    amplitude: NDArray[np.float32]
    mask: NDArray[np.bool_]
    weight: NDArray[np.float32] | None = None

    @property
    def n(self) -> int:
        """Number of frames."""
        return len(self.seq_nums)


@dataclass(frozen=True)
class Snapshot:
    """A copy, in host memory, of what the solver knows at one moment.

    Parameters
    ----------
    object : ndarray (rows, cols) complex64
        Object transmission on `canvas`, 1 in the mean over the light of the brightest frames.
    probe : ndarray (modes, ny, nx) complex64
        Probe modes, strongest first; Σ|probe|² is in photons, those of the brightest frames (see :mod:`recon.level`).
    canvas, geometry : Canvas, Geometry
        Grid of the object; far-field geometry.
    coverage : ndarray (rows, cols) float32
        Illumination Σ|probe|² that each object pixel has received.
    seq_nums : ndarray (n,) int64
        Frames used, sorted.
    positions_m : ndarray (n, 2) float64
        Positions of those frames as used.
    residuals : ndarray (k,) float64
        ``R = Σ(√I − |Ψ|)² / ΣI`` after each pass (running value of the pass); the misfit is weighed where pixels are.
    residual : float
        R of this very state over all frames and valid pixels; NaN where it was not computed.
    iteration : int
        Passes over the frames made so far.
    frc : mapping or None
        ``{"frequency_per_m", "correlation", "half_bit", "half_bit_m", "one_seventh_m"}`` of two half
        data sets (see :func:`recon.metrics.frc`); ``half_bit`` is the criterion for each ring, the
        resolutions are half pitches in m: the pixel where the curve stays above, NaN where it never was.
    settings : mapping
        Settings that made it.
    shifts_m : ndarray (n, 2) float64 or None
        Corrections ``(y, x)`` that are in `positions_m`; None where positions are not refined.
    drift_m : ndarray (2,) float64 or None
        How far ``(y, x)`` the data say that the positions ran away from the first to the last frame.
    gain : ndarray (n,) float32 or None
        Brightness of the beam in each frame, 1 on average; None where it is not fitted.
    background : ndarray (ny, nx) float32 or None
        Photons of each frame that do not come from the waves; None where they are not fitted.
    variation : ndarray (k, ny, nx) complex64 or None
        Modes of unit power by which the strongest probe mode differs from frame to frame.
    uncertainty : ndarray (rows, cols) float32 or None
        Standard deviation of the object from its two half data sets; NaN where it was not measured.
    converged : bool
        Whether the residual has stopped falling, within the settings' tolerance.
    slices : ndarray (n, rows, cols) complex64 or None
        Slices of a thick object in the order of the beam, whose product `object` is; None for one slice.
    settings_version : int
        How often settings had changed since the run began.
    """

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    canvas: Canvas
    geometry: Geometry
    coverage: NDArray[np.float32]
    seq_nums: NDArray[np.int64]
    positions_m: NDArray[np.float64]
    residuals: NDArray[np.float64]
    residual: float
    iteration: int
    frc: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    shifts_m: NDArray[np.float64] | None = None
    drift_m: NDArray[np.float64] | None = None
    gain: NDArray[np.float32] | None = None
    background: NDArray[np.float32] | None = None
    variation: NDArray[np.complex64] | None = None
    uncertainty: NDArray[np.float32] | None = None
    converged: bool = False
    slices: NDArray[np.complex64] | None = None
    settings_version: int = 0

    @property
    def frc_limit_m(self) -> float | None:
        """Half pitch of the last ring of the FRC in m, the finest that the pixels allow; None without FRC."""
        return None if self.frc is None else 0.5 / float(np.asarray(self.frc["frequency_per_m"])[-1])


@dataclass(frozen=True)
class Comparison:
    """Two images of one field, brought into register.

    Parameters
    ----------
    first, second : ndarray (rows, cols) complex128
        The first, and the second without its factor, phase ramp and shift relative to the first.
    canvas : Canvas
        Where the field lies; its window is the field itself.
    difference : float
        ‖first − second, best scaled‖ / ‖first‖.
    shift_m : tuple of float
        By which the second was moved, ``(y, x)`` in m.
    frc : mapping
        As :func:`recon.metrics.frc` gives it.
    """

    first: NDArray[np.complex128]
    second: NDArray[np.complex128]
    canvas: Canvas
    difference: float
    shift_m: tuple[float, float]
    frc: Mapping[str, Any]
