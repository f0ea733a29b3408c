"""Images as TIFF, in floating point and with the size of their pixels, as ImageJ and its kin understand it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..whole_file import write_whole

_DESCRIPTION, _SOFTWARE = 270, 305


def write_tiff(
    path: Path | str,
    images: Mapping[str, NDArray[np.floating[Any]]],
    pixel_m: tuple[float, float],
    told: Mapping[str, Any],
) -> None:
    """Write images of one shape as the pages of one TIFF file, the rows with the highest stage y first.

    So the picture stands as this package draws it, y up and x to the right, in programs that draw the first row at the
    top.

    Parameters
    ----------
    path : Path
    images : mapping of str to ndarray (rows, cols)
        Name → image, row 0 at the lowest y; stored as float32.
    pixel_m : tuple of float
        Pitch ``(y, x)`` in m.
    told : mapping
        Kept as JSON in the description.

    Raises
    ------
    OSError
        If it cannot be written; no partial file stays.
    """
    from PIL import Image

    pages = [Image.fromarray(np.ascontiguousarray(image[::-1], dtype=np.float32)) for image in images.values()]
    resolution = tuple(1e-6 / pitch for pitch in pixel_m[::-1])
    buffer = io.BytesIO()
    pages[0].save(
        buffer,
        format="TIFF",
        save_all=True,
        append_images=pages[1:],
        x_resolution=resolution[0],
        y_resolution=resolution[1],
        resolution_unit=1,
        tiffinfo={_DESCRIPTION: _description(list(images), told), _SOFTWARE: "bluesky_ptycho"},
    )
    write_whole(path, buffer.getbuffer())


def _description(names: list[str], told: Mapping[str, Any]) -> str:
    """Return what ImageJ reads: number of images, unit of the pixels; what it does not know it leaves alone."""
    lines = ["ImageJ=1.53t", f"images={len(names)}", f"slices={len(names)}", "unit=um", "loop=false"]
    return "\n".join([*lines, f"pages={', '.join(names)}", f"bluesky_ptycho={json.dumps(dict(told))}", ""])
