"""The simulated cameras: photons in, raw frames out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..geometry import Geometry
from .fccd_noise import IMAGE_SHAPE, FccdElectronics, FccdNoise

FCCD_PIXEL_M = 30e-6
FCCD_BINNING = 4
"""Raw pixels along each axis of a solver pixel."""

PLAIN_PIXEL_M = FCCD_BINNING * FCCD_PIXEL_M
FCCD_AXIS_PX = (FCCD_BINNING - 1) / 2
"""The optical axis meets the centre of the solver pixel ``[ny // 2, nx // 2]``, which is this far
beyond the centre of the raw pixel ``[480, 480]`` (in solver orientation)."""

LAYOUTS = ("fccd-assembled", "fccd-wire", "plain")


class Electronics(Protocol):
    """Turns photons into a raw frame."""

    shape: tuple[int, int]

    def raw(self, photons: NDArray[np.float32], rng: np.random.Generator, out: NDArray[np.uint16]) -> None:
        """Write the raw frame that records `photons` (rows, columns along +q_y, +q_x) into `out`."""


class PlainElectronics:
    """A perfect photon counter: the raw frame is the diffraction pattern."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def raw(self, photons: NDArray[np.float32], rng: np.random.Generator, out: NDArray[np.uint16]) -> None:
        """Write the counts, at most 65535."""
        np.minimum(photons, 65535, out=out, casting="unsafe")


@dataclass(frozen=True)
class Camera:
    """A camera and how the light falls on it.

    Parameters
    ----------
    electronics : Electronics
        Makes raw frames.
    layout : str
        Layout of raw frames.
    geometry : Geometry
        Unbinned pixels of the image.
    binning : int
        Pixels along each axis of a solver pixel.
    axis_px : float
        See :class:`~bluesky_ptycho.sim.diffraction.Diffraction`.
    adu_per_ev : float
        Gain.
    """

    electronics: Electronics
    layout: str
    geometry: Geometry
    binning: int
    axis_px: float
    adu_per_ev: float

    @property
    def solver_geometry(self) -> Geometry:
        """Geometry of the patterns that the solver sees."""
        g, b = self.geometry, self.binning
        pixel = (g.pixel_m[0] * b, g.pixel_m[1] * b)
        return Geometry(g.energy_ev, g.distance_m, pixel, (g.shape[0] // b, g.shape[1] // b))


def make_camera(
    layout: str,
    *,
    energy_ev: float,
    distance_m: float,
    seed: int,
    shape: tuple[int, int] | None = None,
    noise: FccdNoise | None = None,
) -> Camera:
    """Return the camera of a frame layout.

    Parameters
    ----------
    layout : str
        "fccd-assembled", "fccd-wire" or "plain".
    energy_ev, distance_m : float
        Photon energy and distance from the sample.
    seed : int
        Draws the FCCD's channels.
    shape : tuple of int, optional
        Shape of a frame of the plain camera, (128, 128) by default; the FCCD has its own.
    noise : FccdNoise, optional
        Electronics of the FCCD.

    Raises
    ------
    SettingsError
        If the layout is unknown, or shape or noise don't go with it.
    """
    if layout not in LAYOUTS:
        raise SettingsError(f"layout is {layout!r}; expected one of {', '.join(map(repr, LAYOUTS))}")
    if layout == "plain":
        if noise is not None:
            raise SettingsError("noise was given for the layout 'plain', which has none; expected an FCCD layout")
        shape = (128, 128) if shape is None else (int(shape[0]), int(shape[1]))
        geometry = Geometry(energy_ev, distance_m, (PLAIN_PIXEL_M, PLAIN_PIXEL_M), shape)
        return Camera(PlainElectronics(shape), layout, geometry, 1, 0.0, 1 / energy_ev)
    if shape is not None:
        raise SettingsError(f"shape {shape} was given for the layout {layout!r}; only 'plain' takes a shape")
    noise = noise or FccdNoise()
    electronics = FccdElectronics(noise, energy_ev, seed, wire_order=layout == "fccd-wire")
    geometry = Geometry(energy_ev, distance_m, (FCCD_PIXEL_M, FCCD_PIXEL_M), IMAGE_SHAPE)
    return Camera(electronics, layout, geometry, FCCD_BINNING, FCCD_AXIS_PX, noise.adu_per_ev)
