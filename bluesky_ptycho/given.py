"""What a function of Python is given, refused in one line with argument, value and expectation before it does harm."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from .errors import SettingsError, refused


def check_number(name: str, value: object) -> None:
    """Raise a SettingsError if `value` is no finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise refused(name, value, "a number")


def check_positive(**values: object) -> None:
    """Raise a SettingsError if one is no finite number above 0."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            raise refused(name, value, "a positive number")


def check_count(name: str, value: object, least: int = 0) -> None:
    """Raise a SettingsError if `value` is no whole number of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise refused(name, value, f"a whole number, {least} or more")
    if value < least:
        raise SettingsError(f"{name} is {value}; expected {least} or more")


def check_whole(name: str, value: object) -> None:
    """Raise a SettingsError if `value` is no whole number."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise refused(name, value, "a whole number")


def check_seconds(name: str, value: object, *, or_none: bool = False) -> None:
    """Raise a SettingsError if `value` is no number of 0 or more; infinity is one, and None may be."""
    if value is None and or_none:
        return
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0:
        raise refused(name, value, f"seconds, 0 or more{', or None' if or_none else ''}")


def check_switches(owner: str, **switches: object) -> None:
    """Raise a SettingsError if one is neither True nor False."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise refused(f"{owner}: {name}", value, "True or False")


def check_can(name: str, value: object, methods: Iterable[str], expected: str) -> None:
    """Raise a SettingsError if `value` has not all of some methods."""
    if not all(callable(getattr(value, method, None)) for method in methods):
        raise refused(name, value, expected)


def check_device(name: str, value: object, expected: str = "a device") -> None:
    """Raise a SettingsError if `value` has no name: of detectors and axes, other things are asked where they count."""
    if not isinstance(getattr(value, "name", None), str):
        raise refused(name, value, expected)


def check_changes(name: str, value: object, expected: str = "names and values, as {'solver.modes': 3}") -> None:
    """Raise a SettingsError if `value` is no mapping of names."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise refused(name, value, expected)


def check_name(name: str, value: object, expected: str) -> None:
    """Raise a SettingsError if `value` is no text, or one without a letter."""
    if not isinstance(value, str) or not value.strip():
        raise refused(name, value, expected)


def check_callable(name: str, value: object, expected: str) -> None:
    """Raise a SettingsError if `value` cannot be called."""
    if not callable(value):
        raise refused(name, value, expected)


def check_document_callback(name: str, value: object) -> None:
    """Raise a SettingsError if `value` does not take documents, as ``callback(name, document)`` does."""
    expected = "a function of (name, document), as LivePtycho()"
    check_callable(name, value, expected)
    # A RunEngine can be called with anything, but takes plans.
    if all(callable(getattr(value, method, None)) for method in ("subscribe", "resume")):
        raise refused(name, value, expected)
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # what is written in C may not tell
        return
    try:
        signature.bind("start", {})
    except TypeError:
        raise refused(name, value, expected) from None


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
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text:
        raise refused(name, value, "a path")
    return Path(text)
