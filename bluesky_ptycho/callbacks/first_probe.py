"""The probe that a scan starts from: that of the last good result of the same geometry, where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry

TOLERANCE = 1e-3
"""Relative difference up to which lengths and energies count as the same."""


@dataclass(frozen=True)
class LastProbe:
    """A probe in the catalog.

    Parameters
    ----------
    uid : str
        Result run that holds it.
    geometry : Geometry
        Of that result.
    read : callable
        Returns it, ``(modes, ny, nx) complex64``.
    """

    uid: str
    geometry: Geometry
    read: Callable[[], NDArray[np.complex64]]
    data_session: str | None = None


FindProbe = Callable[[Geometry, float], LastProbe | None]
"""Returns the last probe before a time (s since epoch), if possible one of this geometry."""


@dataclass(frozen=True)
class FirstProbe:
    """What a search for the last probe came to.

    Parameters
    ----------
    modes : ndarray (modes, ny, nx) complex64 or None
        None where no probe fits.
    uid : str or None
        Result run that the probe comes from.
    objection : str
        Why there is none; empty where there is one.
    """

    modes: NDArray[np.complex64] | None = None
    uid: str | None = None
    objection: str = ""


def choose_first_probe(
    find: FindProbe, geometry: Geometry, before_s: float, data_session: str | None = None
) -> FirstProbe:
    """Return the last probe if it fits `geometry`, else say what is wrong; never raises.

    The time keeps a replay to what the live run could have found. What one proposal's data have taught does not go
    into the result of another `data_session`.
    """
    try:
        last = find(geometry, before_s)
        if last is None:
            return FirstProbe(objection="there is no earlier good result to take the probe from")
        objection = misfit(last.geometry, geometry)
        if last.data_session != data_session:
            objection = f"belongs to data_session {last.data_session!r}; expected {data_session!r}"
        if objection is None:
            modes = last.read()
            objection = _defect(modes, geometry)
            if objection is None:
                return FirstProbe(modes, last.uid)
        return FirstProbe(objection=f"the last probe (run {last.uid[:8]}) {objection}")
    except Exception as error:  # catalog or file out of reach: a scan is worth more than a better start
        return FirstProbe(objection=f"the last probe cannot be had ({type(error).__name__}: {error})")


def misfit(stored: Geometry, wanted: Geometry) -> str | None:
    """Say in which respect a probe of geometry `stored` does not serve `wanted`; None if it does."""
    for preposition, text, values in _ASPECTS:
        found, expected = values(stored), values(wanted)
        if not all(_alike(a, b) for a, b in zip(found, expected, strict=True)):
            return f"was measured {preposition} {text.format(*found)}; expected {text.format(*expected)}"
    return None


_ASPECTS: tuple[tuple[str, str, Callable[[Geometry], tuple[Any, ...]]], ...] = (
    ("in", "the {} field", lambda g: (g.propagation,)),
    ("at", "{:g} eV", lambda g: (float(g.energy_ev),)),
    ("at", "{:g} m from the detector", lambda g: (float(g.distance_m),)),
    ("with", "patterns of {} x {} pixels", lambda g: g.shape),
    ("with", "object pixels of {:.5g} x {:.5g} nm", lambda g: tuple(1e9 * pixel for pixel in g.object_pixel_m)),
)


def _alike(a: Any, b: Any) -> bool:
    """Whether two lengths or energies are about the same; words and counts must be equal."""
    return a == b if not isinstance(a, float) else abs(a - b) <= TOLERANCE * abs(b)


def _defect(modes: NDArray[np.complex64], geometry: Geometry) -> str | None:
    if modes.ndim != 3 or modes.shape[1:] != geometry.shape:
        ny, nx = geometry.shape
        return f"has shape {modes.shape}; expected (modes, {ny}, {nx})"
    if not np.isfinite(modes).all():
        return "holds values that are not finite; expected finite ones"
    return None if np.any(modes[0]) else "is zero; expected a wave"
