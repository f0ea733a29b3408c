"""The file that a command is to write: one check for all commands, made before any work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import PtychoError
from .spelling import spelled

RESULTS = "results"


def check_output(
    path: Path,
    suffixes: Sequence[str] = (),
    *,
    inputs: Iterable[Path | str | None] = (),
    option: str = "",
    beside_results: bool = False,
) -> None:
    """Refuse a file that cannot be written, or that would take the place of what nobody meant to lose.

    Parameters
    ----------
    path : Path
        The file; an ordinary one that is there is going to be replaced.
    suffixes : sequence of str
        Endings that it may have, in small or capital letters; none for any.
    inputs : iterable of path or str
        What the command reads, ``FILE`` or ``FILE::DATASET``; what is no file does not matter.
    option : str
        How messages call it; the option or argument "output" unless told.
    beside_results : bool
        It may go to a catalog's reconstructions, where a report made at the end of a scan lies.

    Raises
    ------
    PtychoError
        If it is a directory, an input or one of a catalog's own files, has another ending, or its directory is not
        there or not to be written to.
    """
    option = option or _output()
    expected = f"expected the name of a {' or '.join(suffixes)} file" if suffixes else "expected the name of a file"
    if path.is_dir():
        raise PtychoError(f"{option} is {path}, which is a directory; {expected}")
    _require_no_input(path, inputs, option)
    _require_outside_catalogs(path, option, beside_results)
    if suffixes and path.suffix.lower() not in suffixes:
        raise PtychoError(f"{option} is {path}; {expected}")
    if not path.parent.is_dir():
        lack = "is no directory" if path.parent.exists() else "does not exist"
        raise PtychoError(f"{option} is {path}; its directory {path.parent} {lack}")
    _require_writable(path.parent, f"{option} is {path}; its")


def check_output_directory(path: Path, *, option: str = "", beside_results: bool = False) -> None:
    """Refuse a directory for what a command leaves that cannot be one, or is one of a catalog's own.

    Parameters
    ----------
    path : Path
    option, beside_results
        As for :func:`check_output`.

    Raises
    ------
    PtychoError
        If it is a file or in one, no file can be made there, or it would lie among those of a catalog.
    """
    option = option or _output()
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            lies = "which" if place == path else f"and {place}"
            raise PtychoError(f"{option} is {path}, {lies} is a file; expected the name of a directory")
    _require_outside_catalogs(path, option, beside_results, place=path.resolve() / "any")
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    _require_writable(nearest, f"{option} is {path}; the")


def _require_writable(directory: Path, told: str) -> None:
    """Refuse a directory in which no file can be made, now rather than when the work is done."""
    try:
        # What the permissions say is not all: below /proc nobody makes files, and root may write nearly anywhere else.
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError:
        raise PtychoError(f"{told} directory {directory} cannot be written to") from None


def require_different(first: Path, second: Path, option: str) -> None:
    """Refuse two outputs that are one file."""
    if first.resolve() == second.resolve():
        raise PtychoError(f"{option} is {second}, which is {_output()} as well; expected another file")


def _output() -> str:
    return spelled("output")


def _require_no_input(path: Path, inputs: Iterable[Path | str | None], option: str) -> None:
    for name in filter(None, inputs):
        file = Path(str(name).partition("::")[0])
        if path.is_file() and file.is_file() and path.samefile(file):
            raise PtychoError(f"{option} is {path}, which the command reads; expected another file")


def _require_outside_catalogs(
    path: Path, option: str, beside_results: bool = False, *, place: Path | None = None
) -> None:
    """Refuse what lies in a catalog's directory, but for a file of another name directly in it; `path` unless told."""
    from .catalog.embedded import is_catalog, is_own

    place = path.resolve() if place is None else place
    for directory in place.parents:
        if not is_catalog(directory):
            continue
        first, *below = place.relative_to(directory).parts
        # Frames may lie anywhere below a catalog's directory: whoever measures chooses their names.
        if (below or is_own(first)) and not (beside_results and first == RESULTS):
            raise PtychoError(
                f"{option} is {path}, which lies among the files of catalog {directory}; expected a place outside of it"
            )
