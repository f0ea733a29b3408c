"""What a scan plan is given, refused in one line before anything moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError, refused
from ..given import check_count, check_number, check_type, check_whole
from ..scan_plan import START_KEY


def check_field(**lengths: object) -> None:
    """Refuse lengths, or a jitter, that are no numbers, and a seed that is no whole number of 0 or more.

    Parameters
    ----------
    **lengths
        By the plan's names; `jitter` may be None.
    """
    for name, value in lengths.items():
        if name == "seed":
            check_count(name, value)
        elif not (name == "jitter" and value is None):
            check_number(name, value)


def numbers(name: str, value: object, expected: str) -> NDArray[np.float64]:
    """Return numbers, or raise a SettingsError."""
    try:
        found = np.asarray(value)
        if found.dtype.kind in "iuf":
            return found.astype(np.float64)
    except ValueError:  # rows of unequal length
        pass
    raise refused(name, value, expected)


def centre_of(centre: object) -> NDArray[np.float64]:
    """Return a stage position (y, x), or raise a SettingsError."""
    expected = "a stage position [y, x], or None"
    found = numbers("centre", centre, expected)
    if found.shape != (2,) or not np.isfinite(found).all():
        raise refused("centre", centre, expected)
    return found


def check_devices(fccd: Any, y: Any, x: Any) -> None:
    """Raise a SettingsError if the detector or an axis is none, or the axes are one."""
    if not callable(getattr(fccd, "info", None)):
        raise refused("fccd", fccd, "a detector, which can be prepared and has info()")
    for name, motor in (("y", y), ("x", x)):
        if not callable(getattr(motor, "describe", None)):
            raise refused(name, motor, "an axis of the stage")
    if y is x:
        raise SettingsError(f"y and x are both {y.name!r}; expected two axes of the stage")


def check_metadata(sample_name: object, md: object) -> None:
    """Raise a SettingsError if the name is no text, or the metadata cannot go into a start document beside ours."""
    if not isinstance(sample_name, str):
        raise refused("sample_name", sample_name, "text")
    if md is not None and not isinstance(md, Mapping):
        raise refused("md", md, "a dictionary, or None")
    if md is not None and START_KEY in md:
        raise SettingsError(f"md holds {START_KEY!r}, where the scan plan goes; expected other names")
    for name, value in (md or {}).items():
        _check_entry(name, value)
    _check_names("md", md)


def _check_entry(name: object, value: object) -> None:
    """Raise a SettingsError if the RunEngine would fail of an entry, or a catalog refuse the whole scan for it."""
    if not isinstance(name, str):
        raise refused("md: name", name, "text")
    if name in ("uid", "time"):
        raise SettingsError(f"md holds {name!r}, which the RunEngine gives; expected other names")
    if name == "scan_id":
        check_whole("md['scan_id']", value)
    if name == "sample_name":
        check_type("md['sample_name']", value, str, "text")
    try:
        json.dumps(value, default=_plain, ensure_ascii=False).encode()
    except (TypeError, ValueError):  # or it holds itself, or half a letter
        raise refused(f"md[{name!r}]", value, "numbers, text, and lists and dictionaries of them") from None


def _check_names(told: str, value: object) -> None:
    """Raise a SettingsError if a dictionary, or one within it, has a name that no document may have."""
    if not isinstance(value, Mapping):
        return
    for name, inner in value.items():
        if not isinstance(name, str) or not name or "." in name or "/" in name:
            raise refused(f"{told}: name", name, "text without . and /")
        _check_names(f"{told}[{name!r}]", inner)


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    raise TypeError
