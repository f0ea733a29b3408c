"""The command ``bluesky-ptycho mask``."""

from __future__ import annotations

import argparse
import functools
import io
import operator
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..output_file import check_output
from ..terminal import say
from .arguments import (
    REPLACED,
    RUN,
    LineParser,
    add_catalog,
    file_name,
    finite,
    numbers,
    positive_whole,
    tell_default_catalog,
)
from .settings_file import add_settings, settings_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..preprocess import Mask
    from ..raw_scan import RawScan


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    mask = commands.add_parser(
        "mask",
        help="compose a mask on the mean frame of a run",
        description="Compose a mask of the raw image from files, regions and thresholds of the mean frame, write it, "
        "and draw it on the mean frame. Rows, columns and radii are in pixels, as the axes of the picture show them: "
        "the first pixel reaches from 0 to 1. --file, --rectangle and --circle may be given several times. reprocess "
        "--mask takes the file.",
    )
    add = mask.add_argument
    add("uid", metavar="UID", help=RUN)
    add("--file", action="append", default=[], metavar="FILE", help="mask to begin with, .npy or HDF5 as FILE::DATASET")
    edges = numbers(4, "first row, last row, first column, last column, whole numbers", only_whole=True)
    told = "bad: rows T to B and columns L to R, both included, counted from 0"
    add("--rectangle", action="append", default=[], type=edges, metavar="T,B,L,R", help=told)
    circle = numbers(3, "row, column and radius")
    add(
        "--circle",
        action="append",
        default=[],
        type=circle,
        metavar="ROW,COLUMN,RADIUS",
        help="bad: pixels whose centres lie within; fractions count, as 480.5",
    )
    add(
        "--keep-circle",
        type=circle,
        metavar="ROW,COLUMN,RADIUS",
        help="bad: pixels whose centres lie outside (default: none)",
    )
    add(
        "--above",
        type=finite,
        metavar="N",
        help="bad: a mean above N, in ADU or, in plain frames, photons (default: none)",
    )
    add("--below", type=finite, metavar="N", help="bad: a mean below N (default: none)")
    add("--frames", type=positive_whole, default=50, metavar="N", help="frames of the mean (default: %(default)s)")
    add_settings(mask, "preprocess")
    add(
        "--output",
        type=file_name,
        default=Path("mask.npy"),
        metavar="FILE.npy",
        help=f"the mask, a picture of it beside; {REPLACED} (default: %(default)s)",
    )
    add_catalog(mask)
    mask.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Compose, write and draw the mask; return the exit status."""
    import numpy as np

    from ..catalog import open_catalog
    from ..figure import save_mask_png
    from ..preprocess import Mask, PreprocessSettings, mean_frame
    from ..raw_scan import stored_scan
    from ..whole_file import write_whole

    low, high = options.below, options.above
    if low is not None and high is not None and low > high:
        raise SettingsError(f"--below is {low:g}, more than --above, which is {high:g}; expected it to be less")
    output: Path = options.output
    inputs = (*options.file, options.settings)
    check_output(output, (".npy",), inputs=inputs)
    picture = output.with_suffix(".png")
    check_output(picture, inputs=inputs, option="the picture beside --output")
    if not (options.file or options.rectangle or options.circle or options.keep_circle or (low, high) != (None, None)):
        raise SettingsError(
            "nothing says what is bad; expected --file, --rectangle, --circle, --keep-circle, --above or --below"
        )
    files = {file: Mask.from_file(file) for file in options.file}
    given = settings_of(options)
    settings = PreprocessSettings() if given is None else given.preprocess
    with ExitStack() as opened:
        catalog = opened.enter_context(open_catalog(options.catalog, create=False))
        scan = opened.enter_context(stored_scan(options.uid, catalog, settings))
        darks = scan.darks.darks if scan.darks.fitting else None
        mean = mean_frame(_some_frames(scan, options.frames), scan.plan, settings, darks)
        title = f"{scan.title}, run {scan.uid[:8]}"
        unit = "photons" if scan.plan.detector is not None and scan.plan.detector.layout == "plain" else "ADU"
    parts = list(_parts(mean, files, options))
    mask = functools.reduce(operator.and_, (part for _, part in parts))
    if not mask.good.any():
        raise SettingsError(f"no pixel is left: {_told(mask, parts)}; expected less to be bad")
    content = io.BytesIO()
    np.save(content, mask.good)
    write_whole(output, content.getbuffer())
    save_mask_png(picture, mean, mask.good, title, unit)
    tell_default_catalog(options, catalog.name)
    say(f"{_told(mask, parts)}; {output} holds them, {picture} shows them")
    return 0


def _some_frames(scan: RawScan, most: int) -> Iterator[NDArray[Any]]:
    """Yield frames of points all over the scan, one at a time; what cannot be read is left out."""
    stride = -(-len(scan.points) // most)
    for point in scan.points[::stride]:
        yield scan.read([point])[0]


def _parts(mean: NDArray[Any], files: Mapping[str, Mask], options: argparse.Namespace) -> Iterator[tuple[str, Mask]]:
    """Yield what the mask is composed of, each with its name."""
    import numpy as np

    from ..preprocess import Mask

    shape, measured = mean.shape, np.isfinite(mean)
    yield "without a mean", Mask(measured)
    yield from files.items()
    for edges in options.rectangle:
        yield "rectangle", _rectangle(shape, edges)
    for circle in options.circle:
        yield "circle", _circle(mean, circle, "--circle")
    if options.keep_circle is not None:
        yield "outside the kept circle", ~_circle(mean, options.keep_circle, "--keep-circle")
    low, high = options.below, options.above
    if low is not None or high is not None:
        Mask.threshold(mean, low, high)  # refuses bounds that are reversed
    if high is not None:
        yield "above", Mask.threshold(np.where(measured, mean, high), None, high)
    if low is not None:
        yield "below", Mask.threshold(np.where(measured, mean, low), low, None)


def _rectangle(shape: tuple[int, ...], edges: tuple[float, ...]) -> Mask:
    """Return the mask of the pixels from the first row and column through the last, which are named as pixels are.

    Raises
    ------
    SettingsError
        If there are none in an image of `shape`.
    """
    from ..preprocess import Mask

    top, bottom, left, right = map(int, edges)
    rows, columns = shape
    if not (0 <= top <= bottom < rows and 0 <= left <= right < columns):
        given = ",".join(f"{edge:g}" for edge in edges)
        raise SettingsError(
            f"--rectangle is {given}; expected first row <= last row, first column <= "
            f"last column, of the rows 0 to {rows - 1} and the columns 0 to {columns - 1}"
        )
    return Mask.rectangle((rows, columns), top, bottom + 1, left, right + 1)


def _circle(mean: NDArray[Any], circle: tuple[float, ...], option: str) -> Mask:
    """Return the mask of a circle on the mean frame.

    Raises
    ------
    SettingsError
        If no pixel of it lies within.
    """
    from ..preprocess import Mask

    try:
        return Mask.circle(mean.shape, *circle)
    except SettingsError as error:
        raise SettingsError(f"{option}: {str(error).removeprefix('mask: ')}") from error


def _told(mask: Mask, parts: list[tuple[str, Mask]]) -> str:
    """Return how many pixels are bad, and how many each part has caught; they may overlap."""
    rows, columns = mask.good.shape
    bad = int((~mask.good).sum())
    told = f"{bad} of {rows} × {columns} pixels are bad ({100 * bad / mask.good.size:.3g} %)"
    (always, unknown), *asked_for = [(name, int((~part.good).sum())) for name, part in parts]
    caught = [*asked_for, *([(always, unknown)] if unknown else [])]
    return told + (f": {', '.join(f'{name} {n}' for name, n in caught)}" if caught else "")
