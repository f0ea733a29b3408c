"""What lies between exit waves and measured patterns, apart from the way there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NOISES = ("gaussian", "poisson")


@dataclass
class Detection:
    """How a pattern arises from the waves at the detector; shared by the states of one reconstruction.

    Parameters
    ----------
    poisson : bool
        Whether misfits are judged by the Poisson likelihood instead of amplitudes' differences.
    transfer : (ny, nx) complex64 on the device, or None
        Free space as a filter of the exit wave's transform, over the number of pixels; None for the far field.
    background : (ny, nx) float32 on the device, or None
        Photons of a frame of gain 1 that do not come from the waves, ordered as the stored patterns are.
    background_speed : (ny, nx) float32 on the device, or 0.0
        What momentum carries from one step of the background to the next.
    fits_gain : bool
        Whether each frame's brightness is estimated.
    """

    poisson: bool = False
    transfer: Any = None
    background: Any = None
    background_speed: Any = 0.0
    fits_gain: bool = False

    @property
    def plain(self) -> bool:
        """Whether amplitudes are compared with moduli and nothing else happens."""
        return not (self.poisson or self.fits_gain) and self.background is None

    def scales(self, pixels: int) -> tuple[float, float]:
        """Return the factors that normalise waves at the detector and that the way back asks for."""
        return (pixels**-0.5, 1.0 / pixels) if self.transfer is None else (1.0, 1.0)
