"""The standard ptychography workloads: a known object, a zone-plate probe, Poisson noise.

``small`` is 400 frames of 128 × 128, ``big`` 1600 frames of 256 × 256. Positions are whole pixels, so
that programs without subpixel shifts are exact too. The same numbers come out on every machine.

In both what the sample scatters beyond the detector's edge is folded back onto it, as a discrete Fourier transform
does. No detector does that, and it makes images best that lie on the truth's own pixels: by how much of a pixel a
reconstruction happens to be shifted decides over some per cent of its error. ``unfolded`` is ``small`` without that.

Usage: ``python -m benchmarks.workloads small OUT.npz``
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import numpy as np

WAVELENGTH_M = 1.5498e-9
"""800 eV."""
OBJECT_PIXEL_M = 10e-9
OUTER_ZONE_M = 50e-9
SEED = 7


@dataclass(frozen=True)
class Recipe:
    """Size of a workload: window and grid (frames along a side), step and border in pixels, defocus in m.

    Light beyond the detector's edge is folded back onto it, or with `unfolded` lost.
    """

    window: int
    grid: int
    step: int
    defocus_m: float
    photons: float
    border: int = 16
    unfolded: bool = False


RECIPES = {
    "small": Recipe(window=128, grid=20, step=8, defocus_m=11.5e-6, photons=2.5e5),
    "big": Recipe(window=256, grid=40, step=12, defocus_m=16e-6, photons=1.0e6),
    "unfolded": Recipe(window=128, grid=20, step=8, defocus_m=11.5e-6, photons=2.5e5, unfolded=True),
}


@dataclass(frozen=True)
class Workload:
    """A simulated measurement.

    Parameters
    ----------
    I : ndarray (n, N, N) uint16
        Photons per pixel; ``|fftshift(fft2(probe * window, norm="ortho"))|²`` with Poisson noise, or, unfolded, that
        part of it which a transform of twice the pixels, half as large, has within the detector.
    pos : ndarray (n, 2) int32
        Row and column of the window's first pixel on the object.
    obj : ndarray (rows, cols) complex64
        Object.
    probe, probe0 : ndarray (N, N) complex64
        Probe; first guess of it (15 % less defocus, no aberrations, power of the brightest frame).
    wl, dx : float
        Wavelength and object pixel in m.
    nph, step : float, int
        Photons of an open-beam frame; step of the scan in pixels.
    """

    I: np.ndarray  # noqa: E741 (the file's name for it)
    pos: np.ndarray
    obj: np.ndarray
    probe: np.ndarray
    probe0: np.ndarray
    wl: float
    dx: float
    nph: float
    step: int


def zone_plate_probe(
    n: int, defocus_m: float, *, astigmatism: float = 0.0, coma: float = 0.0, stop: float = 0.35, softness: float = 1.0
) -> np.ndarray:
    """Return the probe ``(n, n) complex64`` of a zone plate, centred, of unit power.

    The pupil is an annulus from `stop` to 1 times the numerical aperture with edges `softness`
    Fourier pixels wide; aberrations are in radian at the rim.
    """
    frequency = np.fft.fftshift(np.fft.fftfreq(n, OBJECT_PIXEL_M))
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    radius = np.hypot(fx, fy)
    rim = 1 / (2 * OUTER_ZONE_M)
    edge = 0.5 * softness * (frequency[1] - frequency[0])
    pupil = 1 / (1 + np.exp((radius - rim) / edge)) * 1 / (1 + np.exp((stop * rim - radius) / edge))
    u, v = fx / rim, fy / rim
    phase = -np.pi * WAVELENGTH_M * defocus_m * radius**2 + astigmatism * (u**2 - v**2) + coma * (u**2 + v**2) * u
    probe = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(pupil * np.exp(1j * phase))))
    return (probe / np.sqrt((abs(probe) ** 2).sum())).astype(np.complex64)


def siemens_star(n: int, spokes: int = 36, inner: float = 0.04, outer: float = 0.45) -> np.ndarray:
    """Return a star ``(n, n) float64`` of 0 and 1; radii are fractions of `n`."""
    y, x = np.mgrid[:n, :n] / n - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    return ((np.sin(spokes * angle) > 0) & (radius > inner) & (radius < outer)).astype(float)


def known_object(n: int) -> np.ndarray:
    """Return the object ``(n, n) complex64``: two photographs and a star, amplitude 0.4 to 1, phase -1.5 to 0.

    Raises
    ------
    RuntimeError
        Without scikit-image: other pictures would be another workload.
    """
    try:
        from skimage import color, data, transform
    except ImportError as missing:
        raise RuntimeError("the workloads need scikit-image for their pictures: pip install '.[test]'") from missing
    absorbing = transform.resize(data.camera().astype(float) / 255, (n, n), anti_aliasing=True)
    shifting = transform.resize(color.rgb2gray(data.astronaut()), (n, n), anti_aliasing=True)
    star = siemens_star(n)
    image = (1 - 0.35 * absorbing - 0.25 * star) * np.exp(1j * (-1.0 * shifting - 0.5 * star))
    return image.astype(np.complex64)


def scan_positions(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Return jittered raster positions ``(n, 2) int32`` in pixels, x fastest."""
    steps = np.arange(recipe.grid) * recipe.step
    rows, cols = np.meshgrid(steps, steps, indexing="ij")
    positions = np.stack([rows.ravel(), cols.ravel()], 1).astype(float)
    positions += rng.uniform(-0.3, 0.3, positions.shape) * recipe.step
    return np.round(positions - positions.min(0)).astype(np.int32) + recipe.border


def twice_as_fine(image: np.ndarray) -> np.ndarray:
    """Return the same band-limited `image` ``(rows, cols) complex64`` with pixels half as large."""
    rows, cols = image.shape
    padding = [(rows // 2, rows - rows // 2), (cols // 2, cols - cols // 2)]
    spectrum = np.pad(np.fft.fftshift(np.fft.fft2(image)), padding)
    return (4 * np.fft.ifft2(np.fft.ifftshift(spectrum))).astype(np.complex64)


def far_field(probe: np.ndarray, image: np.ndarray, corner: np.ndarray, n: int) -> np.ndarray:
    """Return the wave ``(n, n)`` on the detector where the window begins at pixel `corner`.

    `probe` and `image` come as they are, or twice as fine: then the wave is cut out of a larger one.
    """
    finer = len(probe) // n
    row, col = finer * corner
    window = image[row : row + finer * n, col : col + finer * n]
    wave = np.fft.fftshift(np.fft.fft2(probe * window, norm="ortho")) / finer
    cut = slice((finer - 1) * n // 2, (finer - 1) * n // 2 + n)
    return np.asarray(wave[cut, cut])


def make_workload(name: str, *, seed: int = SEED) -> Workload:
    """Simulate a workload of :data:`RECIPES`.

    Raises
    ------
    KeyError
        If there is no such workload.
    RuntimeError
        If scikit-image is missing.
    """
    recipe = RECIPES[name]
    rng = np.random.default_rng(seed)
    n = recipe.window
    positions = scan_positions(recipe, rng)
    size = int(positions.max()) + n + recipe.border
    size += size % 2
    image = known_object(size)
    probe = zone_plate_probe(n, recipe.defocus_m, astigmatism=0.6, coma=0.4) * np.float32(np.sqrt(recipe.photons))
    photons = np.empty((len(positions), n, n), np.float32)
    rendered = (twice_as_fine(probe), twice_as_fine(image)) if recipe.unfolded else (probe, image)
    for frame, corner in zip(photons, positions, strict=True):
        frame[:] = rng.poisson(abs(far_field(*rendered, corner, n)) ** 2)
    guess = zone_plate_probe(n, recipe.defocus_m * 0.85) * np.float32(np.sqrt(photons.sum((1, 2)).max()))
    return Workload(
        I=photons.astype(np.uint16),
        pos=positions,
        obj=image,
        probe=probe,
        probe0=guess.astype(np.complex64),
        wl=WAVELENGTH_M,
        dx=OBJECT_PIXEL_M,
        nph=recipe.photons,
        step=recipe.step,
    )


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: python -m benchmarks.workloads {'|'.join(RECIPES)} OUT.npz")
    np.savez(sys.argv[2], **asdict(make_workload(sys.argv[1])))
