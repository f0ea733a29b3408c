"""Masks of the raw image: composed of files, regions and thresholds, and kept whole in the settings."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import reprlib
import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from .files import LARGEST, load_image

_FORM = "bits"
"""First word of a packed mask."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Which pixels of the raw image count.

    Coordinates are edge coordinates ``(row, column)`` of the assembled and cropped image before it is oriented, as
    all of :class:`~bluesky_ptycho.preprocess.PreprocessSettings`: the first pixel reaches from 0 to 1. ``a & b``
    leaves what is good in both, ``a | b`` what is good in either, ``~a`` exchanges good and bad: a region to keep
    is ``~Mask.circle(...)``.

    Parameters
    ----------
    good : ndarray (rows, columns)
        False or 0 where a pixel is bad; copied.
    source : str
        File that it comes from, for messages.

    Raises
    ------
    SettingsError
        If it is no image.

    Examples
    --------
    >>> mask = Mask.rectangle((100, 100), 0, 10, 0, 100) & Mask.circle((100, 100), 50, 50, 4)
    >>> int(mask.good.sum())
    8948
    """

    good: NDArray[np.bool_]
    source: str = ""

    def __post_init__(self) -> None:
        good = np.array(self.good, dtype=bool)
        if good.ndim != 2 or not good.size:
            raise SettingsError(f"mask has shape {good.shape}; expected (rows, columns)")
        good.flags.writeable = False
        object.__setattr__(self, "good", good)

    @classmethod
    def from_file(cls, location: str) -> Self:
        """Read ``FILE.npy`` or ``FILE::DATASET`` of HDF5, 0 where a pixel is bad.

        Raises
        ------
        SettingsError
            If there is no such image.
        """
        return cls(load_image(location, None, "mask") != 0, location)

    @classmethod
    def rectangle(cls, shape: tuple[int, int], top: float, bottom: float, left: float, right: float) -> Self:
        """Call bad the pixels that a rectangle of these edges touches: ``0, 10`` are ten rows, 0 to 9.

        Raises
        ------
        SettingsError
            If it is empty or outside an image of `shape`.
        """
        if not (top < bottom and left < right and bottom > 0 and right > 0 and top < shape[0] and left < shape[1]):
            raise SettingsError(
                f"mask: rectangle is {top:g}, {bottom:g}, {left:g}, {right:g}; expected edges top < "
                f"bottom, left < right, within {shape[0]} rows and {shape[1]} columns"
            )
        good = np.ones(shape, dtype=bool)
        good[max(0, math.floor(top)) : math.ceil(bottom), max(0, math.floor(left)) : math.ceil(right)] = False
        return cls(good)

    @classmethod
    def circle(cls, shape: tuple[int, int], row: float, column: float, radius: float) -> Self:
        """Call bad the pixels whose centres lie within a circle.

        Raises
        ------
        SettingsError
            If no pixel of an image of `shape` does.
        """
        y, x = (np.arange(n) + 0.5 - middle for n, middle in zip(shape, (row, column), strict=True))
        good = np.hypot(y[:, None], x) > radius
        if good.all() or not np.isfinite([row, column, radius]).all():
            raise SettingsError(
                f"mask: circle is {row:g}, {column:g}, {radius:g}; expected row, column and radius of one that holds "
                f"pixels of {shape[0]} rows and {shape[1]} columns"
            )
        return cls(good)

    @classmethod
    def threshold(cls, mean: NDArray[np.floating], low: float | None = None, high: float | None = None) -> Self:
        """Call bad what is below `low` or above `high` in a mean frame, or unknown (NaN) there.

        Raises
        ------
        SettingsError
            If there is no bound, or they are reversed.
        """
        if (low is None and high is None) or (low is not None and high is not None and not low < high):
            raise SettingsError(f"mask: thresholds are {low} and {high}; expected one, or two with the lower first")
        good = np.isfinite(mean)
        with np.errstate(invalid="ignore"):
            if low is not None:
                good = good & (mean >= low)
            if high is not None:
                good = good & (mean <= high)
        return cls(good)

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.good & self._alike(other))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.good | self._alike(other))

    def __invert__(self) -> Mask:
        return Mask(~self.good)

    def bad_in(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the bad pixels ``(rows, columns)`` of an image of `shape`.

        Raises
        ------
        SettingsError
            If the mask is of another shape.
        """
        _require_shape(self, tuple(shape))
        return np.logical_not(self.good)

    def _alike(self, other: Mask) -> NDArray[np.bool_]:
        """Return the pixels of a mask that is put to this one, by whose shape it is measured."""
        _require_shape(other, self.good.shape)
        return other.good

    # -- as text ------------------------------------------------------------------------------

    @property
    def packed(self) -> str:
        """The whole mask as text, for settings: ``bits ROWS COLUMNS BASE64`` of the deflated bits, row by row."""
        rows, columns = self.good.shape
        bits = base64.b64encode(zlib.compress(np.packbits(self.good).tobytes(), 9)).decode()
        return f"{_FORM} {rows} {columns} {bits}"

    @classmethod
    def unpacked(cls, text: str) -> Self:
        """Return the mask that :attr:`packed` tells of.

        Raises
        ------
        SettingsError
            If it is none, or unpacks to more than it says.
        """
        try:
            form, *rest = text.split(" ")
            if form != _FORM or len(rest) != 3:
                raise ValueError(f"it is not {_FORM}, rows, columns and a code")
            rows, columns, bits = rest
            shape = int(rows), int(columns)
            if min(shape) < 1 or shape[0] * shape[1] > LARGEST:
                raise ValueError(f"it is {form} of {shape}")
            expected = math.ceil(shape[0] * shape[1] / 8)
            stream = zlib.decompressobj()
            content = stream.decompress(base64.b64decode(bits, validate=True), expected + 1)
            if len(content) != expected:
                raise ValueError(f"it holds {len(content)} bytes or more, not {expected}")
        except (ValueError, binascii.Error, zlib.error) as error:
            raise SettingsError(
                f"preprocess.mask is {reprlib.repr(text)}, which cannot be unpacked ({error}); expected a Mask, or "
                "what Mask.packed gave (files go to mask_files)"
            ) from error
        flat = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=shape[0] * shape[1])
        return cls(flat.reshape(shape) == 1)

    @property
    def name(self) -> str:
        """Twelve letters that stand for the content: equal for equal masks."""
        return hashlib.sha256(repr(self.good.shape).encode() + np.packbits(self.good).tobytes()).hexdigest()[:12]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and np.array_equal(self.good, other.good)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        bad, rows, columns = int(np.logical_not(self.good).sum()), *self.good.shape
        return f"<Mask {self.name}: {bad} of {rows} × {columns} pixels bad ({100 * bad / self.good.size:.3g} %)>"


def _require_shape(mask: Mask, shape: tuple[int, ...]) -> None:
    if mask.good.shape != shape:
        name = f"mask {mask.source}".rstrip()
        raise SettingsError(f"{name} has shape {mask.good.shape}; expected {shape}")


def is_packed(value: object) -> bool:
    """Tell whether a value is a mask as :attr:`Mask.packed` gives it."""
    if not isinstance(value, str) or not value.startswith(f"{_FORM} "):
        return False
    try:
        Mask.unpacked(value)
    except SettingsError:
        return False
    return True
