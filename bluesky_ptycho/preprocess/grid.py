"""From the pixels of the image to those of the solver: window, box sum, orientation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError, SettingsError
from ..geometry import Geometry
from ..scan_plan import ScanPlan
from .layouts import layout_of
from .resampling import AxisResampling
from .settings import PreprocessSettings


def orient(images: NDArray[Any]) -> NDArray[Any]:
    """Turn assembled FCCD images ``(…, rows, columns)`` so that rows run along +q_y, columns along +q_x.

    The one place where the camera's mounting enters: transpose, then flip both axes (looking
    downstream).
    """
    return np.swapaxes(images, -1, -2)[..., ::-1, ::-1]


def turn_back(patterns: NDArray[Any]) -> NDArray[Any]:
    """Undo :func:`orient`."""
    return np.swapaxes(patterns[..., ::-1, ::-1], -1, -2)


def zero_pixel(n: int, oriented: bool) -> int:
    """Return the resampled image's row or column that becomes the solver's zero frequency, of `n`."""
    # After the flip the pixel n // 2 from one end is the (n - 1 - n // 2)th from the other.
    return n - 1 - n // 2 if oriented else n // 2


@dataclass(frozen=True)
class Grid:
    """Which raw pixels make which solver pixel.

    Parameters
    ----------
    image_shape : tuple of int
        Rows and columns of the raw image (assembled, cropped, not yet oriented).
    start : tuple of float
        Where the window that is kept begins, in edge coordinates (row, column) of the raw image; it may
        reach beyond the image.
    boxes : tuple of int
        Shape of the resampled image, before orientation.
    binning : float
        Raw pixels per side of a solver pixel.
    oriented : bool
        Whether solver patterns are transposed and flipped against the raw image.
    kernel : str
        As :class:`~bluesky_ptycho.preprocess.resampling.AxisResampling` takes it.
    sigma : float
        Width of a Gaussian kernel in solver pixels.
    """

    image_shape: tuple[int, int]
    start: tuple[float, float]
    boxes: tuple[int, int]
    binning: float
    oriented: bool
    kernel: str = "box"
    sigma: float = 0.5

    @property
    def whole(self) -> bool:
        """Whether solver pixels are sums of whole raw pixels."""
        numbers = (self.binning, *self.start)
        return self.kernel == "box" and all(float(v).is_integer() for v in numbers)

    @property
    def first(self) -> tuple[int, int]:
        """First raw row and column of the window."""
        return math.floor(self.start[0]), math.floor(self.start[1])

    @property
    def size(self) -> tuple[int, int]:
        """Raw rows and columns that the window touches."""
        rows, columns = (math.ceil(s + n * self.binning) for s, n in zip(self.start, self.boxes, strict=True))
        return rows - self.first[0], columns - self.first[1]

    @property
    def output_shape(self) -> tuple[int, int]:
        """Shape ``(ny, nx)`` of a solver pattern."""
        return (self.boxes[1], self.boxes[0]) if self.oriented else self.boxes

    @property
    def optical_centre(self) -> tuple[float, float]:
        """Edge coordinates in the raw image of the middle of the solver's zero-frequency pixel."""
        y, x = (
            s + (zero_pixel(n, self.oriented) + 0.5) * self.binning for s, n in zip(self.start, self.boxes, strict=True)
        )
        return y, x

    def centred_on(self, centre: tuple[float, float]) -> Grid:
        """Return the grid whose optical centre lies there, to the nearest raw pixel if solver pixels are whole ones."""
        start = [
            c - (zero_pixel(n, self.oriented) + 0.5) * self.binning for c, n in zip(centre, self.boxes, strict=True)
        ]
        if self.kernel == "box" and float(self.binning).is_integer():
            start = [float(round(s)) for s in start]
        return dataclasses.replace(self, start=(start[0], start[1]))

    def axes(self) -> tuple[AxisResampling, AxisResampling]:
        """Return the resampling of rows and of columns."""
        rows, columns = (
            AxisResampling(length, n, start, self.binning, self.kernel, self.sigma)
            for length, n, start in zip(self.image_shape, self.boxes, self.start, strict=True)
        )
        return rows, columns

    def window(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the window of ``(…, rows, columns)``; pixels outside the image are 0."""
        inside, to = [], []
        for first, extent, length in zip(self.first, self.size, self.image_shape, strict=True):
            begin = min(max(first, 0), length)
            end = max(min(first + extent, length), begin)
            inside.append(slice(begin, end))
            to.append(slice(begin - first, end - first))
        cut = images[..., inside[0], inside[1]]
        if cut.shape[-2:] == self.size:
            return cut
        padded = np.zeros((*images.shape[:-2], *self.size), dtype=images.dtype)
        if cut.size:
            padded[..., to[0], to[1]] = cut
        return padded

    def resample(self, images: NDArray[Any]) -> NDArray[Any]:
        """Make solver pixels of ``(…, rows, columns)``, not oriented; photons in the window are conserved."""
        if not self.whole:
            rows, columns = self.axes()
            return np.asarray(rows.weights @ images @ columns.weights.T)
        return np.asarray(self._boxes_of(images).sum(axis=(-3, -1), dtype=images.dtype))

    def all_valid(self, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell for each solver pixel whether the raw pixels it needs are valid; those outside the image are not."""
        if not self.whole:
            rows, columns = self.axes()
            invalid = (~valid).astype(np.float32)
            hit = rows.support.astype(np.float32) @ invalid @ columns.support.T.astype(np.float32)
            return np.asarray((hit == 0) & rows.inside[:, None] & columns.inside)
        return np.asarray(self._boxes_of(valid).all(axis=(-3, -1)))

    def _boxes_of(self, images: NDArray[Any]) -> NDArray[Any]:
        cut, b = self.window(images), int(self.binning)
        return cut.reshape(*cut.shape[:-2], self.boxes[0], b, self.boxes[1], b)

    def to_solver(self, boxes: NDArray[Any]) -> NDArray[Any]:
        """Orient resampled images ``(…, *boxes)`` as the solver wants them."""
        return orient(boxes) if self.oriented else boxes

    def from_solver(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Turn solver patterns back to resampled images."""
        return turn_back(patterns) if self.oriented else patterns


def make_grid(plan: ScanPlan, settings: PreprocessSettings) -> Grid:
    """Return the grid for a plan's detector.

    Raises
    ------
    MetadataError
        If the plan has no detector or its shape doesn't suit the layout.
    SettingsError
        If binning, crop, object pixel or optical centre don't suit the image.
    """
    if plan.detector is None:
        raise MetadataError("scan plan: detector is None; preprocessing needs the shape of its frames")
    layout = layout_of(plan)
    image = layout.image_shape(plan.detector.shape)
    binning, shape = _sampling(plan, settings, image, layout.binning)
    grid = Grid(image, (0.0, 0.0), shape, binning, layout.fccd, str(settings.resampling), settings.gaussian_sigma)
    if settings.optical_centre is not None:
        centre = settings.optical_centre
        if not all(0 <= c <= length for c, length in zip(centre, image, strict=True)):
            raise SettingsError(f"preprocess.optical_centre is {centre}; expected within {image}")
        return grid.centred_on((centre[0], centre[1]))
    start = [_middle(length, n, binning, layout.fccd) for length, n in zip(image, shape, strict=True)]
    return dataclasses.replace(grid, start=(start[0], start[1]))


def _middle(length: int, n: int, binning: float, oriented: bool) -> float:
    """Return where the window begins about the array's centre, where an FFT of the raw image has its zero frequency."""
    size = n * binning
    if size > length:
        return (length - size) / 2
    begin = min(max(length // 2 - n // 2 * binning, 0), length - size)
    return length - size - begin if oriented else begin


def _sampling(
    plan: ScanPlan, settings: PreprocessSettings, image: tuple[int, int], usual: int
) -> tuple[float, tuple[int, int]]:
    """Return raw pixels per solver pixel, and the shape of the resampled image."""
    assert plan.detector is not None
    binning, n, wanted = settings.binning, settings.pattern_px, settings.object_pixel_m
    if wanted is not None:
        if binning is not None:
            raise SettingsError("preprocess: object_pixel_m and binning are given; expected one of them")
        n = n or min(image) // usual
        unbinned = Geometry(plan.energy_ev, plan.distance_m, plan.detector.pixel_m, (n, n))
        binning = unbinned.object_pixel_m[0] / wanted
        if not 1 <= binning * n <= 2 * max(image) or binning < 1:
            raise SettingsError(
                f"preprocess.object_pixel_m is {wanted:g} m, which needs {binning:.3g} raw pixels per "
                f"solver pixel with {n} of them; expected at least 1, and no more than {2 * max(image)} in all"
            )
        binning = round(binning) if abs(binning - round(binning)) < 1e-6 else binning
    if binning is None:
        binning = usual if n is None else min(image) / n
    if settings.crop_px is not None:
        return binning, _cropped(settings.crop_px, binning, n, image)
    if n is not None:
        return binning, (n, n)
    shape = int(image[0] / binning + 1e-9), int(image[1] / binning + 1e-9)
    if min(shape) < 1:
        raise SettingsError(f"preprocess.binning is {binning}; expected at most {min(image)}, the image's side")
    return binning, shape


def _cropped(crop_px: int, binning: float, n: int | None, image: tuple[int, int]) -> tuple[int, int]:
    boxes = crop_px / binning
    if n is not None or crop_px > min(image) or abs(boxes - round(boxes)) > 1e-6 or boxes < 1:
        raise SettingsError(
            f"preprocess.crop_px is {crop_px}, binning is {binning:g}, pattern_px is {n}; expected "
            f"a multiple of the binning up to the image's {min(image)} pixels, and no pattern_px beside it"
        )
    return round(boxes), round(boxes)


def output_geometry(plan: ScanPlan, settings: PreprocessSettings | None = None) -> Geometry:
    """Return the geometry of the patterns that preprocessing hands to the solver.

    Parameters
    ----------
    plan : ScanPlan
    settings : PreprocessSettings, optional

    Raises
    ------
    MetadataError, SettingsError
        As :func:`make_grid`.
    """
    grid = make_grid(plan, settings or PreprocessSettings())
    assert plan.detector is not None  # make_grid has refused it
    pitch = [p * grid.binning for p in plan.detector.pixel_m]
    pixel = (pitch[1], pitch[0]) if grid.oriented else (pitch[0], pitch[1])
    return Geometry(plan.energy_ev, plan.distance_m, pixel, grid.output_shape)
