"""Raw FCCD frames written by hand, pixel by pixel from the description of the camera.

Nothing of the package's own layout code is used, so that both can disagree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bluesky_ptycho.preprocess import DarkAccumulator, DarkModel
from bluesky_ptycho.scan_plan import DetectorInfo, ScanPlan

ADU_PER_EV = 0.004
ENERGY_EV = 800.0
ADU_PER_PHOTON = ADU_PER_EV * ENERGY_EV
SHAPE = (1040, 1152)


def make_plan(
    layout: str = "fccd-assembled", exposures_s: tuple[float, ...] = (0.1,), shape: tuple[int, int] = SHAPE
) -> ScanPlan:
    detector = DetectorInfo("fccd", "fccd_image", "fccd_frame_index", shape, (30e-6, 30e-6), layout, ADU_PER_EV)
    return ScanPlan(4, (0.0, 1e-6, 0.0, 1e-6), ENERGY_EV, 0.121, detector=detector, exposures_s=exposures_s)


def put_image(frame: NDArray[np.floating], image: NDArray[np.floating]) -> None:
    """Add a raw image (960, 960), in ADU, to an assembled frame: ten columns after each first overscan column."""
    for group in range(96):
        columns = slice(12 * group + 1, 12 * group + 11)
        part = image[:, 10 * group : 10 * group + 10]
        frame[6:486, columns] += part[:480]
        frame[554:1034, columns] += part[480:]


def words(adu: NDArray[np.floating]) -> NDArray[np.uint16]:
    """ADU → raw words at gain ×1."""
    return (0xC000 + np.clip(np.rint(adu), 0, 8191)).astype(np.uint16)


class Camera:
    """A camera with an offset for each pixel; `sigma` is its read noise, `drift` the rms of its row drift, in ADU."""

    def __init__(self, seed: int = 0, *, sigma: float = 0.9, drift: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.sigma, self.drift = sigma, drift
        channels = self.rng.normal(4096, 40, (2, 96))
        self.offset = np.repeat(np.repeat(channels, 520, axis=0), 12, axis=1) + self.rng.normal(0, 3, SHAPE)

    def frame(self, image: NDArray[np.floating] | None = None, *, poisson: bool = True) -> NDArray[np.uint16]:
        """One assembled frame of a raw image in photons."""
        adu = self.offset + self.rng.normal(0, self.sigma, SHAPE)
        if self.drift:
            rows = np.linspace(0, np.pi, SHAPE[0])
            waves = np.sin(np.outer(np.arange(1, 4), rows) + self.rng.uniform(0, 6.28, (3, 1)))
            adu += (self.drift * self.rng.normal(0, 1, 3) @ waves)[:, None]
        if image is not None:
            photons = self.rng.poisson(image) if poisson else image
            put_image(adu, photons * ADU_PER_PHOTON)
        return words(adu)

    def darks(self, n: int = 25, exposure_s: float = 0.1) -> DarkModel:
        accumulator = DarkAccumulator("fccd-assembled")
        for _ in range(n):
            accumulator.add(self.frame()[None])
        return accumulator.model(exposure_s)


def solver_view(image: NDArray[np.floating], b: int = 4) -> NDArray[np.floating]:
    """Box sum of a raw image in solver orientation, written out with indices: out[i, j] = raw[-1-j, -1-i]."""
    n = len(image) // b
    out = np.empty((n, n), dtype=image.dtype)
    for i in range(n):
        for j in range(n):
            y, x = (n - 1 - j) * b, (n - 1 - i) * b
            out[i, j] = image[y : y + b, x : x + b].sum()
    return out
