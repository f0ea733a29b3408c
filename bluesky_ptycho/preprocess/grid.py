"""From the pixels of the image to those of the solver: window, box sum, orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError, SettingsError
from ..geometry import Geometry
from ..scan_plan import ScanPlan
from .layouts import layout_of
from .settings import PreprocessSettings


def orient(images: NDArray[Any]) -> NDArray[Any]:
    """Turn assembled FCCD images ``(…, rows, columns)`` so that rows run along +q_y, columns along +q_x.

    The one place where the camera's mounting enters: transpose, then flip both axes (looking
    downstream).
    """
    return np.swapaxes(images, -1, -2)[..., ::-1, ::-1]


@dataclass(frozen=True)
class Grid:
    """Which raw pixels make which solver pixel.

    Parameters
    ----------
    image_shape : tuple of int
        Rows and columns of the raw image (assembled, cropped, not yet oriented).
    start, size : tuple of int
        First row and column, and extent, of the window that is kept; it may reach beyond the image.
    binning : int
        Raw pixels per side of a solver pixel; divides `size`.
    oriented : bool
        Whether solver patterns are transposed and flipped against the raw image.
    """

    image_shape: tuple[int, int]
    start: tuple[int, int]
    size: tuple[int, int]
    binning: int
    oriented: bool

    @property
    def boxes(self) -> tuple[int, int]:
        """Shape of the box-summed image, before orientation."""
        return self.size[0] // self.binning, self.size[1] // self.binning

    @property
    def output_shape(self) -> tuple[int, int]:
        """Shape ``(ny, nx)`` of a solver pattern."""
        return (self.boxes[1], self.boxes[0]) if self.oriented else self.boxes

    @property
    def optical_centre(self) -> tuple[float, float]:
        """Edge coordinates in the raw image of the middle of the solver's zero-frequency pixel."""
        # After the flip the pixel n // 2 from one end is the (n - 1 - n // 2)th from the other.
        index = [n - 1 - n // 2 if self.oriented else n // 2 for n in self.boxes]
        return (
            self.start[0] + (index[0] + 0.5) * self.binning,
            self.start[1] + (index[1] + 0.5) * self.binning,
        )

    def window(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the window of ``(…, rows, columns)``; pixels outside the image are 0."""
        inside, to = [], []
        for first, extent, length in zip(self.start, self.size, self.image_shape, strict=True):
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

    def sum_boxes(self, images: NDArray[Any]) -> NDArray[Any]:
        """Sum the boxes of ``(…, rows, columns)``, not oriented; photons in the window are conserved."""
        cut = self.window(images)
        shape = (*cut.shape[:-2], self.boxes[0], self.binning, self.boxes[1], self.binning)
        return np.asarray(cut.reshape(shape).sum(axis=(-3, -1), dtype=images.dtype))

    def all_valid(self, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell for each box whether all its raw pixels are valid; those outside the image are not."""
        cut = self.window(valid)
        shape = (*cut.shape[:-2], self.boxes[0], self.binning, self.boxes[1], self.binning)
        return np.asarray(cut.reshape(shape).all(axis=(-3, -1)))

    def to_solver(self, boxes: NDArray[Any]) -> NDArray[Any]:
        """Orient box-summed images ``(…, *boxes)`` as the solver wants them."""
        return orient(boxes) if self.oriented else boxes


def make_grid(plan: ScanPlan, settings: PreprocessSettings) -> Grid:
    """Return the grid for a plan's detector.

    Raises
    ------
    MetadataError
        If the plan has no detector or its shape doesn't suit the layout.
    SettingsError
        If binning, crop or optical centre don't suit the image.
    """
    if plan.detector is None:
        raise MetadataError("scan plan: detector is None; preprocessing needs the shape of its frames")
    layout = layout_of(plan)
    image = layout.image_shape(plan.detector.shape)
    b = settings.binning or layout.binning
    size, start = [0, 0], [0, 0]
    for axis, length in enumerate(image):
        size[axis] = settings.crop_px or length // b * b
        if size[axis] > length or size[axis] % b or not size[axis]:
            raise SettingsError(
                f"PreprocessSettings.crop_px is {settings.crop_px}, binning is {b}; "
                f"expected a multiple of the binning up to the image's {length} pixels"
            )
        n = size[axis] // b
        if settings.optical_centre is None:
            # The array's centre, where an FFT of the raw image would have its zero frequency.
            begin = min(max(length // 2 - n // 2 * b, 0), length - size[axis])
            start[axis] = length - size[axis] - begin if layout.fccd else begin
            continue
        centre = settings.optical_centre[axis]
        if not 0 <= centre <= length:
            raise SettingsError(
                f"PreprocessSettings.optical_centre is {settings.optical_centre}; expected within {image}"
            )
        index = n - 1 - n // 2 if layout.fccd else n // 2
        start[axis] = round(centre - (index + 0.5) * b)
    return Grid(image, (start[0], start[1]), (size[0], size[1]), b, oriented=layout.fccd)


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
