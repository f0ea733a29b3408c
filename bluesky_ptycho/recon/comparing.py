"""Two reconstructions beside each other: in register, with their difference and Fourier ring correlation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import MetadataError
from ..frames import Comparison, Snapshot
from ..geometry import Canvas
from .metrics import frc
from .registration import register

MARGIN_PX = 24
"""Pixels around the common field that take part in the shift, as far as both images have them."""
LEAST_PX = 16
"""Side of a field that can be compared; an FRC has no rings in less."""
SAME_PIXEL = 1e-6
"""Pixels that differ by less, relatively, are the same."""


def compare(first: Snapshot, second: Snapshot) -> Comparison:
    """Compare two reconstructions over the field that both scans have covered.

    The second is brought to the grid of the first, by cubic splines where their pixels differ, then freed of the
    complex factor, phase ramp and subpixel shift that ptychography leaves open.

    Parameters
    ----------
    first, second : Snapshot
        Of the same sample, in the same stage coordinates.

    Raises
    ------
    MetadataError
        If the scanned fields have less than 16 × 16 pixels in common, or an image is not finite there.
    """
    box = _common_box(first, second)
    room = min(_room(box, first.canvas), _room_in(second.canvas, box, first.canvas))
    margin = max(0, min(MARGIN_PX, room))
    outer = slice(box[0].start - margin, box[0].stop + margin), slice(box[1].start - margin, box[1].stop + margin)
    image, target = _on_grid(second, first.canvas, outer), first.object[outer].astype(np.complex128)
    if not (np.isfinite(image).all() and np.isfinite(target).all()):
        raise MetadataError("the reconstructions are not finite all over their common field")
    found = register(image, target, margin)
    kept, pixel = first.object[box].astype(np.complex128), first.canvas.pixel_m
    y, x = first.canvas.coordinates_m()
    origin = float(y[box[0].start]), float(x[box[1].start])
    return Comparison(
        first=kept,
        second=found.aligned,
        canvas=Canvas((kept.shape[0], kept.shape[1]), origin, pixel, (kept.shape[0], kept.shape[1])),
        difference=found.error,
        shift_m=(found.shift_px[0] * pixel[0], found.shift_px[1] * pixel[1]),
        frc=frc(kept, found.aligned, pixel),
    )


def _common_box(first: Snapshot, second: Snapshot) -> tuple[slice, slice]:
    """Return the rows and columns of the first that lie within both scans."""
    fields = [np.stack([s.positions_m.min(axis=0), s.positions_m.max(axis=0)]) for s in (first, second)]
    corners = np.stack([np.maximum(fields[0][0], fields[1][0]), np.minimum(fields[0][1], fields[1][1])])
    sides_px = (corners[1] - corners[0]) / np.array(first.canvas.pixel_m)
    if (sides_px < LEAST_PX).any():
        told = " × ".join(f"{max(0.0, s):.0f}" for s in sides_px)
        raise MetadataError(
            f"the scans have {told} pixels in common; expected {LEAST_PX} × {LEAST_PX} or more of the same stage field"
        )
    return first.canvas.scanned_box(corners)


def _room(box: tuple[slice, slice], canvas: Canvas) -> int:
    """Return how many pixels there are around a box on its canvas."""
    return min(min(s.start, n - s.stop) for s, n in zip(box, canvas.shape, strict=True))


def _room_in(other: Canvas, box: tuple[slice, slice], canvas: Canvas) -> int:
    """Return how many pixels of `canvas` there are around a box of it on another canvas."""
    rooms = []
    for axis, s in enumerate(box):
        low, high = (_place(canvas, other, axis, np.array([s.start, s.stop - 1]))).tolist()
        scale = other.pixel_m[axis] / canvas.pixel_m[axis]
        rooms += [low * scale, (other.shape[axis] - 1 - high) * scale]
    return int(np.floor(min(rooms)))


def _place(canvas: Canvas, other: Canvas, axis: int, index: NDArray[Any]) -> NDArray[np.float64]:
    """Return where pixels of `canvas` lie on another canvas, in its pixels."""
    metres = canvas.origin_m[axis] + canvas.pixel_m[axis] * index
    return np.asarray((metres - other.origin_m[axis]) / other.pixel_m[axis], dtype=np.float64)


def _on_grid(snapshot: Snapshot, canvas: Canvas, box: tuple[slice, slice]) -> NDArray[np.complex128]:
    """Return a reconstruction at the pixels of a box of another canvas."""
    places = [_place(canvas, snapshot.canvas, axis, np.arange(s.start, s.stop)) for axis, s in enumerate(box)]
    if np.allclose(snapshot.canvas.pixel_m, canvas.pixel_m, rtol=SAME_PIXEL, atol=0):
        # Less than a pixel remains, which registration finds: no interpolation takes anything from the image.
        first = [
            min(max(0, round(float(p[0]))), n - len(p)) for p, n in zip(places, snapshot.object.shape, strict=True)
        ]
        rows, cols = (slice(start, start + len(p)) for start, p in zip(first, places, strict=True))
        return np.asarray(snapshot.object[rows, cols], dtype=np.complex128)
    grid = np.meshgrid(*places, indexing="ij")
    parts = [ndimage.map_coordinates(part, grid, order=3, mode="nearest") for part in _parts(snapshot.object)]
    return np.asarray(parts[0] + 1j * parts[1])


def _parts(image: NDArray[np.complexfloating[Any, Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    whole = image.astype(np.complex128)
    return whole.real, whole.imag
