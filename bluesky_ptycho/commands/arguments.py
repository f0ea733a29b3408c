"""Arguments of the command line: what they must be, and a parser that says in one line what is wrong."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import NotFoundError, SettingsError
from ..settings import MOST_HINTS
from ..terminal import say

USER_ERROR = 2
"""Exit status after an error that the user can mend."""

# Named here, for help that is there at once: the presets' own module loads numba.
PRESETS = ("cosmic", "nanosurveyor")

RUN = "uid of a scan or of a reconstruction, the beginning of one, a scan_id, or -1 for the last scan"
"""What names a stored run, as help tells it."""

REPLACED = "replaced if it exists"
"""What becomes of a file that an option names and that is there, as help tells it."""


class _WholeWords(argparse.HelpFormatter):
    """Breaks lines between words alone: what stands on both sides of a hyphen may be a name to be typed."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(f"{indent}{line}" for line in self._split_lines(text, width - len(indent)))


class LineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors of the command are.

    Options are written in full: a script that shortens one breaks when another of that beginning comes.
    """

    def __init__(self, **options: Any) -> None:
        own: dict[str, Any] = {"allow_abbrev": False, "formatter_class": _WholeWords}
        super().__init__(**own | options)
        # What begins with "-" and a digit is a value, "-3d" as "-3" is, and is answered by who reads the value.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is; leave with status 2."""
        if lacks := re.fullmatch(r"argument (?:-\w/)?(--[\w-]+): expected one argument", message):
            message += f"; one that begins with - is written {lacks[1]}=-..."
        for action in self._actions:
            if action.choices is not None and message.endswith(f"are required: {'/'.join(action.option_strings)}"):
                message += f", one of {', '.join(map(str, action.choices))}"
        self.exit(USER_ERROR, f"bluesky-ptycho: error: {' '.join(message.split())} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            meant = difflib.get_close_matches(str(value), [str(choice) for choice in action.choices or ()], MOST_HINTS)
            error.message += f"; did you mean {' or '.join(meant)}?" if meant else ""
            raise

    def refuse_unknown(self, unknown: Sequence[str]) -> NoReturn:
        """Tell of arguments that are none, and which option may be meant by the first that looks like one."""
        wrong = next((text.partition("=")[0] for text in unknown if text.startswith("--")), None)
        known = sorted(option for action in self._actions for option in action.option_strings)
        meant = [] if wrong is None else [option for option in known if option.startswith(wrong)]
        meant = meant or ([] if wrong is None else difflib.get_close_matches(wrong, known, MOST_HINTS))
        hint = f"; did you mean {' or '.join(meant[:MOST_HINTS])}?" if meant else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def add_catalog(parser: LineParser) -> None:
    """Add the option that names a catalog."""
    parser.add_argument(
        "--catalog",
        metavar="CATALOG",
        help="directory, http address or profile (default: tiled's default profile, else the one used last)",
    )


def tell_default_catalog(options: argparse.Namespace, name: str) -> None:
    """Say on standard error which catalog is taken, where none was given.

    Called when the work is done or well under way: what is refused before is told in one line.
    """
    if options.catalog is None:
        say(f"catalog {name} (no --catalog was given)", file=sys.stderr)


def tell_error(text: str) -> None:
    """Say on standard error what went wrong, in the form that all commands have for it."""
    print(f"bluesky-ptycho: error: {' '.join(text.split())}", file=sys.stderr)


def refuse_idle(options: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """Refuse options that would do nothing: who gave one expects it to count.

    Raises
    ------
    SettingsError
        If one of `names` is given; it names all of them that are, and says `reason`.
    """
    values = ((name, getattr(options, name)) for name in names)
    given = [f"--{name.replace('_', '-')}" for name, value in values if not (value is None or value is False)]
    if given:
        raise SettingsError(f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} given; {reason}")


def file_meant(name: str) -> Path | None:
    """Return the file that a name means; None for that of a run, which is looked for in a catalog.

    Raises
    ------
    NotFoundError
        If it is written as a file is, with an ending or a directory, and is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix or os.sep in name or name in (os.curdir, os.pardir):
        raise NotFoundError(f"{name} is not a file" if path.exists() else f"{name} does not exist")
    return None


def require_file(path: Path) -> None:
    """Refuse what is no file and may be the name of a run, which another command takes."""
    if not path.exists() and not path.suffix and os.sep not in str(path):
        raise NotFoundError(f"{path} does not exist; expected a file (bluesky-ptycho replay takes runs)")


def finite(text: str) -> float:
    """Return a finite number."""
    return _number(text, math.isfinite, "a number")


def positive(text: str) -> float:
    """Return a finite number above 0."""
    return _number(text, lambda value: 0 < value < math.inf, "a positive number")


def between(low: float, high: float, unit: str) -> Callable[[str], float]:
    """Return what reads a number from `low` to `high`: one beyond them was meant in another unit."""

    def read(text: str) -> float:
        return _number(text, lambda value: low <= value <= high, f"{low:g} to {high:,.0f} {unit}")

    return read


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected {expected}")
    return value


def whole(text: str) -> int:
    """Return a whole number."""
    return _whole(text, None, "a whole number")


def positive_whole(text: str) -> int:
    """Return a whole number above 0."""
    return _whole(text, 1, "a whole number, 1 or more")


def port(text: str) -> int:
    """Return the number of a port, 0 for any free one."""
    expected = "a port, 1 to 65535, or 0 for any free one"
    value = _whole(text, 0, expected)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected {expected}")
    return value


def host_and_port(text: str) -> str:
    """Return ``HOST:PORT`` as it is."""
    host, _, number = text.rpartition(":")
    if not (host and number.isascii() and number.isdigit() and 1 <= int(number[:6]) <= 65535):
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected HOST:PORT, as 127.0.0.1:5578")
    return text


def scheduler_address(text: str) -> str:
    """Return ``HOST:PORT`` or ``tcp://HOST:PORT``, or another protocol's, as it is."""
    protocol, divider, place = text.rpartition("://")
    if protocol == "inproc" and place:  # within a process there are no ports
        return text
    try:
        host_and_port(place if protocol or not divider else "")
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected HOST:PORT, as 127.0.0.1:8786") from None
    return text


def seed(text: str) -> int:
    """Return a whole number, 0 or more."""
    return _whole(text, 0, "a whole number, 0 or more")


def positive_numbers(text: str) -> tuple[float, ...]:
    """Return finite numbers above 0 that commas separate."""
    return tuple(positive(part) for part in text.split(","))


def numbers(count: int, expected: str, *, only_whole: bool = False) -> Callable[[str], tuple[float, ...]]:
    """Return what reads `count` finite numbers that commas separate; `expected` says which ones."""

    def read(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count or not all(
            value.is_integer() if only_whole else math.isfinite(value) for value in values
        ):
            raise argparse.ArgumentTypeError(f"value is {text!r}; expected {expected}")
        return values

    return read


def zone_plate(text: str) -> tuple[float, float, float, float]:
    """Return diameter, outermost zone, stop and defocus in m of four numbers in µm, nm, µm and µm."""
    try:
        diameter, zone, stop, defocus = (float(part) for part in text.split(","))
    except ValueError:
        diameter = zone = stop = defocus = math.nan
    if not (diameter > stop >= 0 and zone > 0 and math.isfinite(diameter + zone + defocus)):
        raise argparse.ArgumentTypeError(
            f"value is {text!r}; expected diameter in µm, outermost zone in nm, stop in µm (0 for none), defocus in µm"
        )
    return 1e-6 * diameter, 1e-9 * zone, 1e-6 * stop, 1e-6 * defocus


def directory(text: str) -> Path:
    """Return the path of a directory; an empty text would be the working directory by mistake."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected the name of a directory")
    return Path(text)


def file_name(text: str) -> Path:
    """Return the path of a file; an empty text would be the working directory by mistake."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected the name of a file")
    return Path(text)


def name(text: str) -> str:
    """Return the name of something, which has a letter at least."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected a name")
    return text


def _whole(text: str, least: int | None, expected: str) -> int:
    try:
        value: int | None = int(text)
    except ValueError:
        value = None
    if value is None or (least is not None and value < least):
        raise argparse.ArgumentTypeError(f"value is {text!r}; expected {expected}")
    return value


def add_output(parser: LineParser, default: str, more: str = "", *, numbered: bool = False) -> None:
    """Add ``--output DIR`` for the files that a reconstruction leaves, `more` names of them first.

    With `numbered` nothing given is None, for :func:`~bluesky_ptycho.output.make_numbered_directory`.
    """
    files = f"{more}{', ' if more else ''}summary.json, result.cxi and reconstruction.png"
    told = f"{default}, and {default}_2 and so on where there is one" if numbered else default
    parser.add_argument(
        "--output",
        type=directory,
        default=None if numbered else Path(default),
        metavar="DIR",
        help=f"directory for {files}; made if absent, files of these names are replaced (default: {told})",
    )
