"""Geometry of a measurement and the array conventions of the whole package.

Conventions, stated here once
-----------------------------
* Arrays are indexed ``[y, x]``; tuples that describe two axes are ``(y, x)``.
* Object, probe and STXM arrays are in *stage coordinates*: the row grows with the stage's
  +y, the column with its +x, and the pixel at ``(y, x)`` is the point that the beam meets
  when the stage reads ``(y, x)``. Drawn with ``origin=DISPLAY_ORIGIN`` x points to the
  right and y up.
* A diffraction pattern that leaves preprocessing has zero frequency at
  ``[ny // 2, nx // 2]`` and its rows and columns run along +q_y and +q_x, so that
  ``pattern = |fftshift(fft2(probe * object_window))|**2``.
* A near-field pattern is an image of the wave behind the sample, not turned around: the beam axis
  meets ``[ny // 2, nx // 2]``, rows and columns run along the stage's +y and +x.
* The beam axis passes through pixel ``[ny // 2, nx // 2]`` of the probe.
* Lengths are metres, energies electronvolts, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import MetadataError

DISPLAY_ORIGIN: Literal["lower"] = "lower"
"""``origin`` for ``imshow``: row 0 is the lowest stage y."""

ENERGY_TIMES_WAVELENGTH_EV_M = 1.239841984332e-6
"""h c / e in eV m (CODATA 2018)."""

JOULE_PER_EV = 1.602176634e-19
"""The elementary charge (exact, SI 2019)."""

ENERGIES_EV = (10.0, 1e6)
"""Range of believable photon energies; others mean a wrong unit."""

PROPAGATIONS = ("far", "near")
"""Ways from the sample to the detector: Fraunhofer's and Fresnel's."""

METRES_PER_UNIT = {
    "m": 1.0,
    "mm": 1e-3,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "micron": 1e-6,
    "microns": 1e-6,
    "nm": 1e-9,
}
"""Length units that motors and documents may use."""


def metres_per_unit(units: Any, field: str) -> float:
    """Return the length of one `units` in metres.

    Raises
    ------
    MetadataError
        If `units` is missing or is not a unit of length; `field` names its owner.
    """
    try:
        return METRES_PER_UNIT[units]
    except (KeyError, TypeError):
        known = ", ".join(METRES_PER_UNIT)
        raise MetadataError(f"units of {field} are {units!r}; expected one of {known}") from None


def check_energy(name: str, energy_ev: float) -> None:
    """Raise a MetadataError if a photon energy cannot be one in eV."""
    low, high = ENERGIES_EV
    if not low <= energy_ev <= high:
        raise MetadataError(f"{name} is {energy_ev:g} eV; expected {low:g} to {high:g} eV: is it in another unit?")


@dataclass(frozen=True)
class Geometry:
    """Geometry of the patterns that the solver sees.

    In the near field a beam that diverges from a focus makes the image that a parallel beam would make at the
    distance `effective_distance_m`, enlarged by `magnification` (Fresnel scaling theorem: Paganin, Coherent X-Ray
    Optics, Oxford 2006, appendix B). Probe and object are those of that parallel beam: the probe lacks the
    spherical wave from the focus.

    Parameters
    ----------
    energy_ev : float
        Photon energy in eV.
    distance_m : float
        Sample to detector distance in m, in the near field too.
    pixel_m : tuple of float
        Pitch ``(y, x)`` in m of a pixel of the (binned) diffraction pattern.
    shape : tuple of int
        Shape ``(ny, nx)`` of a diffraction pattern, and so of the probe.
    propagation : {"far", "near"}
        Whether patterns are far-field or near-field (Fresnel) ones.
    focus_to_sample_m : float, optional
        How far downstream of the focus the sample stands, for the near field in a diverging beam; None or infinite
        for a parallel beam, and None in the far field, where it does not matter.

    Raises
    ------
    MetadataError
        If a value is not positive and finite, `propagation` is not known, or `focus_to_sample_m` is given for the
        far field.
    """

    energy_ev: float
    distance_m: float
    pixel_m: tuple[float, float]
    shape: tuple[int, int]
    propagation: str = "far"
    focus_to_sample_m: float | None = None

    def __post_init__(self) -> None:
        if self.propagation not in PROPAGATIONS:
            raise MetadataError(f"Geometry.propagation is {self.propagation!r}; expected 'far' or 'near'")
        if self.focus_to_sample_m == np.inf:
            object.__setattr__(self, "focus_to_sample_m", None)
        if self.focus_to_sample_m is not None and self.propagation == "far":
            raise MetadataError(
                f"Geometry.focus_to_sample_m is {self.focus_to_sample_m}; expected None for the far field"
            )
        checked = {"energy_ev": self.energy_ev, "distance_m": self.distance_m}
        checked |= {f"pixel_m[{i}]": v for i, v in enumerate(self.pixel_m)}
        checked |= {f"shape[{i}]": v for i, v in enumerate(self.shape)}
        if self.focus_to_sample_m is not None:
            checked["focus_to_sample_m"] = self.focus_to_sample_m
        for name, value in checked.items():
            if not (np.isfinite(value) and value > 0):
                raise MetadataError(f"Geometry.{name} is {value}; expected a positive number")

    @property
    def wavelength_m(self) -> float:
        """Wavelength in m."""
        return ENERGY_TIMES_WAVELENGTH_EV_M / self.energy_ev

    @property
    def magnification(self) -> float:
        """How much larger than the sample its near-field image is: (z1 + z2) / z1, 1 in a parallel beam."""
        return 1.0 if self.focus_to_sample_m is None else 1 + self.distance_m / self.focus_to_sample_m

    @property
    def effective_distance_m(self) -> float:
        """Distance in m at which a parallel beam makes the same near-field image: z2 / magnification."""
        return self.distance_m / self.magnification

    @property
    def object_pixel_m(self) -> tuple[float, float]:
        """Object pixel ``(y, x)`` in m: wavelength * distance / (N * pixel); near field: pixel / magnification."""
        dy, dx = self.pixel_m
        if self.propagation == "near":
            return dy / self.magnification, dx / self.magnification
        scale = self.wavelength_m * self.distance_m
        ny, nx = self.shape
        return scale / (ny * dy), scale / (nx * dx)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {**asdict(self), "pixel_m": list(self.pixel_m), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the geometry that :meth:`to_dict` gave, of this or an older version."""
        (dy, dx), (ny, nx) = stored["pixel_m"], stored["shape"]
        optional = {name: stored[name] for name in ("propagation", "focus_to_sample_m") if name in stored}
        return cls(stored["energy_ev"], stored["distance_m"], (dy, dx), (ny, nx), **optional)


WHOLE_PX = 1e-7
"""Positions nearer than this to a whole pixel are on it."""


@dataclass(frozen=True)
class Canvas:
    """The pixel grid of an object in stage coordinates.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    origin_m : tuple of float
        Stage coordinates ``(y, x)`` in m of the centre of pixel ``[0, 0]``.
    pixel_m : tuple of float
        Pixel pitch ``(y, x)`` in m.
    window : tuple of int
        Shape of the probe window that moves over the canvas.
    """

    shape: tuple[int, int]
    origin_m: tuple[float, float]
    pixel_m: tuple[float, float]
    window: tuple[int, int]

    @classmethod
    def for_extent(cls, extent_m: tuple[float, float, float, float], geometry: Geometry, margin_px: int = 8) -> Self:
        """Return the canvas on which every window within `extent_m` fits.

        Its pixels lie at whole multiples of their pitch in stage coordinates, so that images of neighbouring scans, and
        of one place at two times, share a grid and are compared and joined pixel by pixel.

        Parameters
        ----------
        extent_m : tuple of float
            ``(y_min, y_max, x_min, x_max)`` of the positions of the beam axis, in m.
        geometry : Geometry
            Gives the pixel and the window.
        margin_px : int
            Extra pixels on each side, for readback noise and position refinement.
        """
        y_min, y_max, x_min, x_max = extent_m
        pixel = geometry.object_pixel_m
        shape, origin = [], []
        for low, high, p, n in zip((y_min, x_min), (y_max, x_max), pixel, geometry.shape, strict=True):
            first = int(np.floor(low / p + WHOLE_PX)) - n // 2 - margin_px
            origin.append(first * p)
            shape.append(int(np.ceil(high / p - WHOLE_PX)) - n // 2 + n + margin_px - first)
        return cls((shape[0], shape[1]), (origin[0], origin[1]), pixel, geometry.shape)

    def corners_px(self, positions_m: ArrayLike) -> NDArray[np.float64]:
        """Return where the window's pixel ``[0, 0]`` lies, in pixels.

        Parameters
        ----------
        positions_m : array_like, (n, 2)
            Stage positions ``(y, x)`` of the beam axis, in m.

        Returns
        -------
        ndarray, (n, 2) float64
            Row and column; fractional parts are subpixel shifts.
        """
        positions = np.asarray(positions_m, dtype=np.float64).reshape(-1, 2)
        half = np.array([self.window[0] // 2, self.window[1] // 2])
        return (positions - np.asarray(self.origin_m)) / np.asarray(self.pixel_m) - half

    def contains(self, positions_m: ArrayLike) -> NDArray[np.bool_]:
        """Tell for each position, ``(n,) bool``, whether its window lies on the canvas."""
        corners = self.corners_px(positions_m)
        upper = np.array([self.shape[0] - self.window[0], self.shape[1] - self.window[1]])
        return np.asarray(np.all((corners >= 0) & (corners <= upper), axis=1))

    def coordinates_m(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the stage y of each row and x of each column, in m."""
        y, x = (
            o + p * np.arange(n, dtype=np.float64)
            for o, p, n in zip(self.origin_m, self.pixel_m, self.shape, strict=True)
        )
        return y, x

    def extent_m(self) -> tuple[float, float, float, float]:
        """Return ``(left, right, bottom, top)`` in m, as ``imshow`` takes it."""
        y, x = self.coordinates_m()
        dy, dx = self.pixel_m
        return float(x[0] - dx / 2), float(x[-1] + dx / 2), float(y[0] - dy / 2), float(y[-1] + dy / 2)

    def scanned_box(self, positions_m: ArrayLike) -> tuple[slice, slice]:
        """Return the rows and columns between the outermost positions of the beam axis.

        Within them the object is illuminated from all sides, so images are judged there.

        Parameters
        ----------
        positions_m : array_like, (n, 2)
            Stage positions ``(y, x)`` of the beam axis, in m; n > 0.

        Returns
        -------
        tuple of slice
            Clipped to the canvas, at least one pixel along each axis.
        """
        centres = self.corners_px(positions_m) + np.array([n // 2 for n in self.window])
        low, high = np.rint(centres.min(axis=0)).astype(int), np.rint(centres.max(axis=0)).astype(int)
        low = np.clip(low, 0, np.array(self.shape) - 1)
        high = np.clip(high, low + 1, self.shape)
        return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
