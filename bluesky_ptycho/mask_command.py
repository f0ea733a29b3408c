"""The command ``bluesky-ptycho mask``."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import LineParser, add_catalog, numbers, positive_whole
from .errors import PtychoError
from .settings_file import add_settings, settings_of
from .terminal import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .preprocess import Mask
    from .raw_scan import RawScan


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    mask = commands.add_parser(
        "mask",
        help="compose a mask on the mean frame of a run",
        description="Compose a mask of the raw image from files, regions and thresholds of the mean frame, write it, "
        "and draw it on the mean frame. Rows and columns are those of the picture. reprocess --mask takes it.",
    )
    add = mask.add_argument
    add("uid", metavar="UID", help="uid of a scan, a prefix of it, a scan_id, or -1 for the last scan")
    add("--file", action="append", default=[], metavar="FILE", help="mask to begin with, .npy or HDF5 as FILE::DATASET")
    edges = numbers(4, "first row, last row, first column, last column")
    told = "bad: rows T to B, columns L to R"
    add("--rectangle", action="append", default=[], type=edges, metavar="T,B,L,R", help=told)
    circle = numbers(3, "row, column and radius")
    add("--circle", action="append", default=[], type=circle, metavar="ROW,COLUMN,RADIUS", help="bad: within it")
    add("--keep-circle", type=circle, metavar="ROW,COLUMN,RADIUS", help="bad: all outside of it (default: nothing)")
    add(
        "--above",
        type=float,
        metavar="N",
        help="bad: a mean above N, in ADU or, in plain frames, photons (default: none)",
    )
    add("--below", type=float, metavar="N", help="bad: a mean below N (default: none)")
    add("--frames", type=positive_whole, default=50, metavar="N", help="frames of the mean (default: %(default)s)")
    add_settings(mask, "preprocess")
    add("--output", type=Path, default=Path("mask.npy"), metavar="FILE.npy", help="the mask (default: %(default)s)")
    add_catalog(mask)
    mask.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Compose, write and draw the mask; return the exit status."""
    import numpy as np

    from .catalog import open_catalog
    from .figure import save_mask_png
    from .preprocess import PreprocessSettings, mean_frame
    from .raw_scan import stored_scan
    from .whole_file import write_whole

    output: Path = options.output
    if output.suffix != ".npy":
        raise PtychoError(f"--output is {output}; expected the name of a .npy file")
    given = settings_of(options)
    settings = PreprocessSettings() if given is None else given.preprocess
    with (
        open_catalog(options.catalog, create=False) as catalog,
        stored_scan(options.uid, catalog, settings) as scan,
    ):
        darks = scan.darks.darks if scan.darks.fitting else None
        mean = mean_frame(_some_frames(scan, options.frames), scan.plan, settings, darks)
        title = f"{scan.title}, run {scan.uid[:8]}"
    mask = _composed(mean, options)
    content = io.BytesIO()
    np.save(content, mask.good)
    write_whole(output, content.getbuffer())
    picture = output.with_suffix(".png")
    save_mask_png(picture, mean, mask.good, title)
    say(f"{mask!r}; {output} holds it, {picture} shows it")
    return 0


def _some_frames(scan: RawScan, most: int) -> Iterator[NDArray[Any]]:
    """Yield frames of points all over the scan, one at a time; what cannot be read is left out."""
    stride = -(-len(scan.points) // most)
    for point in scan.points[::stride]:
        yield scan.read([point])[0]


def _composed(mean: NDArray[Any], options: argparse.Namespace) -> Mask:
    import numpy as np

    from .preprocess import Mask

    shape = mean.shape
    parts = [Mask(np.isfinite(mean)), *map(Mask.from_file, options.file)]
    parts += [Mask.rectangle(shape, *edges) for edges in options.rectangle]
    parts += [Mask.circle(shape, *circle) for circle in options.circle]
    if options.keep_circle is not None:
        parts.append(~Mask.circle(shape, *options.keep_circle))
    if options.above is not None or options.below is not None:
        parts.append(Mask.threshold(mean, options.below, options.above))
    mask = parts[0]
    for part in parts[1:]:
        mask &= part
    return mask
