"""Find a run by uid, prefix, scan number or age."""

from __future__ import annotations

import re
from numbers import Integral
from typing import Any

from ..errors import NotFoundError
from ..words import counted
from .tree import plain

_FULL_UID = 36
_MAX_SCAN_ID_DIGITS = 9
_MIN_UID_DIGITS = 4
"""Fewer digits alone are what somebody types for a scan, and not the beginning of the uid of whatever run has it."""


def runs(container: Any) -> Any:
    """Return the runs in `container`, and nothing else that may lie there."""
    from tiled.queries import Comparison

    # What is not a run (a container of results in a beamline's catalog) has no start time.
    return plain(container).search(Comparison("ge", "start.time", 0))


def find_run(raw: Any, processed: Any | None, key: Any) -> Any:
    """Return the run that `key` means.

    Parameters
    ----------
    raw, processed : tiled clients of containers of runs
        `processed` may be None.
    key : int or str
        Positive: scan number (the newest scan that has it). Zero or negative: place in the
        list of scans, -1 is the last. Text: a uid or the beginning of one, of a scan or of
        a result, or a scan number or a negative place; where both fit, the scan of that number. Digits
        alone, fewer than four, are a number.

    Raises
    ------
    NotFoundError
        If there is no such run, or more than one.
    """
    if isinstance(key, Integral):
        return _by_number(raw, processed, int(key))
    text = str(key).strip()
    if re.fullmatch(rf"-?\d{{1,{_MAX_SCAN_ID_DIGITS}}}", text):
        try:
            return _by_typed_number(raw, processed, int(text))
        except NotFoundError:
            if text.startswith("-") or len(text) < _MIN_UID_DIGITS:
                raise
    if not re.fullmatch(r"[0-9A-Za-z-]+", text):
        raise NotFoundError(f"run {key!r} is neither a uid, its beginning, a scan number nor -1")
    for container in (raw, processed):
        if container is not None and (run := _by_uid(container, text)) is not None:
            return run
    raise NotFoundError(f"no run {text!r} in the catalog, neither among scans nor among results")


def _by_typed_number(raw: Any, processed: Any | None, number: int) -> Any:
    if number == 0:  # who counts scans from 0 means another one than the first
        raise NotFoundError("no scan has the number 0; expected 1 or more, or -1 for the last scan")
    return _by_number(raw, processed, number)


def _by_number(raw: Any, processed: Any | None, number: int) -> Any:
    from tiled.queries import Eq

    if number > 0:
        found = plain(raw).search(Eq("start.scan_id", number)).values()
        if not len(found):
            raise NotFoundError(f"no scan has the number {number}{_none_stored(raw, processed)}")
        return found.last()
    scans = runs(raw).values()
    try:
        return scans[number]
    except IndexError:
        has = counted(len(scans), "scan")
        raise NotFoundError(f"no scan {number}: the catalog has {has}{_none_stored(raw, processed)}") from None


def _none_stored(raw: Any, processed: Any | None) -> str:
    """Say what is likely wrong with a catalog that has reconstructions and not one scan; nothing of another."""
    if processed is None or len(runs(raw).values()) or not (results := len(runs(processed).values())):
        return ""
    return f", and {counted(results, 'result')}: RE.subscribe(catalog.raw_writer()) stores scans"


def _by_uid(container: Any, text: str) -> Any | None:
    from tiled.queries import Like

    container = plain(container)
    if len(text) == _FULL_UID:
        try:
            return container[text]
        except KeyError:
            return None
    matches = container.search(Like("start.uid", f"{text}%")).values().head(3)
    if len(matches) > 1:
        uids = ", ".join(run.start["uid"][: len(text) + 6] for run in matches)
        raise NotFoundError(f"uid {text!r} fits several runs ({uids}, ...); give more characters")
    return matches[0] if matches else None
