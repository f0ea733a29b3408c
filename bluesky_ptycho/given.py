"""What a function of Python is given, refused in one line with argument, value and expectation before it does harm."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from .errors import SettingsError, refused


def check_number(name: str, value: object) -> None:
    """Raise a SettingsError if `value` is no finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise refused(name, value, "a number")


def check_count(name: str, value: object, least: int = 0) -> None:
    """Raise a SettingsError if `value` is no whole number of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise refused(name, value, f"a whole number, {least} or more")
    if value < least:
        raise SettingsError(f"{name} is {value}; expected {least} or more")


def check_seconds(name: str, value: object) -> None:
    """Raise a SettingsError if `value` is neither None nor a number of 0 or more."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0):
        raise refused(name, value, "seconds, 0 or more, or None")


def check_switches(owner: str, **switches: object) -> None:
    """Raise a SettingsError if one is neither True nor False."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise refused(f"{owner}: {name}", value, "True or False")


def check_can(name: str, value: object, methods: Iterable[str], expected: str) -> None:
    """Raise a SettingsError if `value` has not all of some methods."""
    if not all(callable(getattr(value, method, None)) for method in methods):
        raise refused(name, value, expected)


def check_callable(name: str, value: object, expected: str) -> None:
    """Raise a SettingsError if `value` cannot be called."""
    if not callable(value):
        raise refused(name, value, expected)


def check_type(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise a SettingsError if `value` is of no such type."""
    if not isinstance(value, kind):
        raise refused(name, value, expected)


def one_or_many(name: str, value: Any, fits: Callable[[Any], bool], expected: str) -> list[Any]:
    """Return a list of what was given, one alone or several; raise a SettingsError if something does not fit."""
    given = [value] if fits(value) else value
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise refused(name, value, expected)
    given = list(given)
    for each in given:
        if not fits(each):
            raise refused(name, each, expected)
    return given


def as_path(name: str, value: object) -> Path:
    """Return a path that was given as one or as text; raise a SettingsError if it is neither, or empty."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise refused(name, value, "a path")
    return Path(value)
