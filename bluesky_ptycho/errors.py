"""Errors that a user can act on.

Every error that is the user's to mend derives from :class:`PtychoError`; the command line
prints it as one line and leaves with status 2.
"""

from __future__ import annotations

import reprlib
import sys
from typing import Any


class PtychoError(Exception):
    """A problem the user can mend; the message names field, value and expectation."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: one line, as where it was raised mends nothing; all with ``%xmode Verbose``."""
        shell: Any = sys.modules["IPython"].get_ipython()
        if shell is not None and shell.InteractiveTB.mode == "Verbose":
            lines: list[str] = shell.InteractiveTB.structured_traceback(type(self), self, self.__traceback__)
            return lines
        return [f"{type(self).__name__}: {self}"]


def in_a_line(error: BaseException) -> str:
    """Return an error's message in one line, after its class's name unless it is the user's to mend."""
    message = " ".join(str(error).split())
    return message if isinstance(error, PtychoError) else f"{type(error).__name__}: {message}"


class SettingsError(PtychoError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


def refused(name: str, value: object, expected: str) -> SettingsError:
    """Return the error that names an argument, its value in a short line, and what was expected."""
    shown = " ".join(reprlib.repr(value).split())
    return SettingsError(f"{name} is {shown} ({type(value).__name__}); expected {expected}")


class MetadataError(PtychoError, ValueError):
    """A document or file lacks a field, or a field holds a value that cannot be used."""


class PreflightError(PtychoError, RuntimeError):
    """A scan was refused before the shutter opened."""


class NotFoundError(PtychoError, KeyError):
    """A file, a run or a registered name does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
