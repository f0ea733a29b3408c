"""The command ``bluesky-ptycho show``."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import NotFoundError, SettingsError
from ..output_file import check_output
from ..terminal import say
from .arguments import REPLACED, RUN, LineParser, add_catalog, file_meant, file_name, refuse_idle, tell_default_catalog


def add_parser(commands: argparse._SubParsersAction[LineParser]) -> None:
    """Add the command to the table of commands."""
    show = commands.add_parser(
        "show",
        help="draw what is in a file or a run",
        description="Draw a reconstruction with its curves; or frames as a contact sheet with their histogram and "
        "sums, which a window leafs through; or two reconstructions, their difference and Fourier ring correlation. "
        "In a window where there is a display, else in a PNG file.",
    )
    add = show.add_argument
    add(
        "what", metavar="FILE|UID",
        help=f"CXI, NXcxi_ptycho or .ptyd file; or {RUN}",
    )  # fmt: skip
    add(
        "--compare",
        metavar="OTHER",
        help="file or uid of another reconstruction of the same stage field; 'bluesky-ptycho runs' tells uids",
    )
    add("--frames", action="store_true", help="a run's raw frames, even if it has a reconstruction")
    add(
        "--points",
        metavar="POINTS",
        help="scan points to show, counted from 1, as 5,9 or 40-51 (default: 12 all over the scan)",
    )
    add(
        "--output",
        type=file_name,
        metavar="FILE.png",
        help=f"picture to write; {REPLACED} (default: a window, else show.png)",
    )
    add_catalog(show)
    show.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Draw; return the exit status."""
    files = [file_meant(name) for name in (options.what, options.compare) if name is not None]
    if all(files):
        refuse_idle(options, ["catalog"], f"expected only for a run: {options.what} is a file")
    output = _output(options.output)
    if output is not None:
        check_output(output, (".png",), inputs=(options.what, options.compare))
    if options.compare is not None and (options.frames or options.points):
        with_frames = "--points" if options.points else "--frames"
        raise SettingsError(f"--compare is given with {with_frames}; expected it alone, for two reconstructions")
    with ExitStack() as opened:
        draw = _compare if options.compare is not None else _show
        told = draw(options, output, _Catalog(options, opened))
    say(told if output is None else f"{told}; {output} shows it")
    return 0


def _output(wanted: Path | None) -> Path | None:
    """Return the file to write; None for a window."""
    from ..figure import check_windows

    if wanted is not None:
        return wanted
    try:
        check_windows()
    except SettingsError:
        return Path("show.png")
    return None


class _Catalog:
    """Gives the catalog, opened when it is first asked for."""

    def __init__(self, options: argparse.Namespace, opened: ExitStack) -> None:
        self._options, self._opened = options, opened
        self._found: Any = None

    def __call__(self) -> Any:
        from ..catalog import open_catalog

        if self._found is None:
            self._found = self._opened.enter_context(open_catalog(self._options.catalog, create=False))
        return self._found

    def tell(self) -> None:
        """Say which one is drawn from, where none was given and one was needed."""
        if self._found is not None:
            tell_default_catalog(self._options, self._found.name)


def _show(options: argparse.Namespace, output: Path | None, catalog: _Catalog) -> str:
    from ..figure import save_reconstruction_png, show_reconstruction
    from ..figure.frame_sheet import ON_A_SHEET, save_frame_sheet
    from ..showing import chosen_points, find_result, open_frames

    frames = options.frames or options.points is not None
    shown = None if frames else find_result(options.what, catalog)
    if shown is not None:
        catalog.tell()
        if output is None:
            show_reconstruction(shown.snapshot, shown.stxm, shown.title)
        else:
            save_reconstruction_png(output, shown.snapshot, stxm=shown.stxm, title=shown.title)
        return shown.title
    with open_frames(options.what, catalog) as roll:
        points = chosen_points(options.points, roll, ON_A_SHEET)
        catalog.tell()
        if output is None:
            from ..figure.window import browse_frames

            browse_frames(roll, points)
        else:
            save_frame_sheet(output, roll, points)
        return f"{len(points)} of {roll.n} points of {roll.title}"


def _compare(options: argparse.Namespace, output: Path | None, catalog: _Catalog) -> str:
    from ..figure.comparison import agreement_text, save_comparison_png
    from ..recon.comparing import compare
    from ..showing import compared_note, find_result

    pair = []
    for name in (options.what, options.compare):
        shown = find_result(name, catalog)
        if shown is None:
            raise NotFoundError(f"{name} holds no reconstruction; expected two that can be compared")
        pair.append(shown)
    first, second = pair
    compared = compare(first.snapshot, second.snapshot)
    catalog.tell()
    names, note = (first.title, second.title), compared_note(first, second)
    if output is None:
        from ..figure.window import show_comparison

        show_comparison(compared, names, note)
    else:
        save_comparison_png(output, compared, names, note)
    apart = f"{100 * compared.difference:.3g} % apart"
    return f"{first.title} and {second.title}: {apart}, agree down to {agreement_text(compared)}"
