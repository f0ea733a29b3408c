"""Find scans by when, what, at which energy and how sharp: the server narrows down, and pages of runs are loaded."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from numbers import Real
from typing import Any

from ..errors import SettingsError
from ..given import check_name
from ..keywords import checks_arguments
from ..scan_plan import START_KEY
from ..spelling import spelled
from .lookup import runs
from .tree import plain

PAGE = 50
"""Runs asked for at once, and uids in one question."""

_ENERGY = f"start.{START_KEY}.energy_ev"
_AGES = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DAYS = {"today": 0, "yesterday": 1}


@dataclass(frozen=True)
class Search:
    """What scans must be; None where it does not matter.

    Parameters
    ----------
    since_s, until_s : float or None
        Start of the scan, in s since 1970.
    sample : str or None
        Part of the sample's name, in small or capital letters alike.
    energies_ev : tuple of float or None
        Lowest and highest photon energy in eV.
    resolution_m : float or None
        A reconstruction of the scan has reached this half pitch in m, or a finer one.

    Raises
    ------
    SettingsError
        On a range that is reversed, a resolution of 0 or less, or an empty name.
    """

    since_s: float | None = None
    until_s: float | None = None
    sample: str | None = None
    energies_ev: tuple[float, float] | None = None
    resolution_m: float | None = None

    def __post_init__(self) -> None:
        if self.energies_ev is not None and not 0 <= self.energies_ev[0] <= self.energies_ev[1] < math.inf:
            low, high = self.energies_ev
            raise SettingsError(
                f"search: energy is {low:g} to {high:g} eV; expected a lowest and a highest one, neither below 0"
            )
        if self.resolution_m is not None and not 0 < self.resolution_m < math.inf:
            raise SettingsError(f"search: resolution is {self.resolution_m} m; expected a positive length")
        if self.sample is not None:
            check_name("search: sample", self.sample, "a name or a part of one")
        if self.since_s is not None and self.until_s is not None and self.since_s > self.until_s:
            since, until = _as_date(self.since_s), _as_date(self.until_s)
            raise SettingsError(
                f"search: since is {since}, later than {spelled('until')}, which is {until}; expected an earlier time"
            )

    def scans(self, catalog: Any) -> Iterator[Any]:
        """Yield the scans of a catalog, newest first, as they are asked for."""
        from tiled.queries import Comparison, Like

        found = runs(catalog.raw)
        energies = self.energies_ev or (None, None)
        for key, operator, bound in (
            ("start.time", "ge", self.since_s),
            ("start.time", "le", self.until_s),
            (_ENERGY, "ge", energies[0]),
            (_ENERGY, "le", energies[1]),
        ):
            if bound is not None:
                found = found.search(Comparison(operator, key, float(bound)))
        if self.sample is not None and self.sample.isascii():  # the server's letter cases are those of ASCII
            found = found.search(Like("start.sample_name", f"%{self.sample}%"))
        pages = [found] if self.resolution_m is None else self._sharp(found, catalog)
        for run in itertools.chain.from_iterable(map(newest_first, pages)):
            # To the server, "_" and "%" stand for any letters.
            name = str(run.metadata["start"].get("sample_name", ""))
            if self.sample is None or self.sample.casefold() in name.casefold():
                yield run

    def _sharp(self, found: Any, catalog: Any) -> Iterator[Any]:
        """Yield the parts of `found` that have a result as sharp as wanted: a part for each page of such results."""
        from tiled.queries import Comparison, In

        from ..callbacks.results import SUMMARY_KEY

        if catalog.processed is None:
            return
        results = plain(catalog.processed).search(
            Comparison("le", f"stop.{SUMMARY_KEY}.frc_resolution_m", self.resolution_m)
        )
        seen: set[str] = set()
        for page in _pages(newest_first(results)):
            new = {str(run.metadata["start"].get("raw_uid", "")) for run in page} - seen
            seen |= new
            if new:
                yield found.search(In("start.uid", sorted(new)))


def newest_first(found: Any) -> Iterator[Any]:
    """Yield the runs of a container, the last ones first, a page at a time."""
    view, first = found.values(), 0
    while True:
        page = view[-1 - first : -1 - first - PAGE : -1]
        yield from page
        if len(page) < PAGE:
            return
        first += PAGE


def results_of(catalog: Any, raw_uids: Sequence[str]) -> Iterator[Any]:
    """Yield the result runs of scans, oldest first."""
    from tiled.queries import In

    if catalog.processed is None:
        return
    for uids in _pages(raw_uids):
        yield from plain(catalog.processed).search(In("start.raw_uid", uids)).values()


def _pages(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while page := list(itertools.islice(rest, PAGE)):
        yield page


@checks_arguments
def make_search(
    *,
    since: str | float | datetime | None = None,
    until: str | float | datetime | None = None,
    sample: str | None = None,
    energy: str | float | Sequence[float] | None = None,
    resolution: str | float | None = None,
) -> Search:
    """Return the search that a person means.

    Parameters
    ----------
    since, until : str, float or datetime
        "2026-11-01", "2026-11-01 14:30", "today", "yesterday", an age ("12h", "30min", "3d", "2w"), or s since 1970;
        a day as `until` is meant with all its hours.
    sample : str
        Part of the name.
    energy : str, float or two floats
        In eV: "700-900", "700", or lowest and highest; a single one is meant within 1 %.
    resolution : str or float
        Half pitch reached: "20nm", "0.02um", or a number in m.

    Raises
    ------
    SettingsError
        On a value that cannot be read.
    """
    return Search(
        since_s=None if since is None else _time_s("since", since, end=False),
        until_s=None if until is None else _time_s("until", until, end=True),
        sample=sample,
        energies_ev=None if energy is None else _energies(energy),
        resolution_m=None if resolution is None else _resolution(resolution),
    )


def _as_date(time_s: float) -> str:
    """Return a time as it is read by who gave it; what no calendar holds, in s."""
    try:
        return datetime.fromtimestamp(time_s).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return f"{time_s:g} s"


def _time_s(name: str, value: str | float | datetime, *, end: bool) -> float:
    try:
        moment = _moment_s(value, end=end)
    except (ValueError, OverflowError, OSError):  # the clock of the system ends before the calendar does
        moment = math.nan
    if not math.isfinite(moment):
        raise SettingsError(
            f"search: {name} is {str(value)!r}; expected 2026-11-01, '2026-11-01 14:30', today, yesterday, or an age "
            "as 30min, 12h, 3d, 2w"
        )
    return moment


def _moment_s(value: str | float | datetime, *, end: bool) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    if not isinstance(value, str):
        return float(value)
    text = value.strip().lower()
    if age := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)", text):
        return time.time() - float(age[1]) * _AGES[age[2]]
    if text in _DAYS:
        midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
        moment, is_day = midnight - timedelta(days=_DAYS[text]), True
    else:
        moment, is_day = datetime.fromisoformat(text), len(text) <= len("2026-11-01")
    # The first moment of a day does not belong to the one before.
    return (moment + timedelta(days=1, microseconds=-1)).timestamp() if end and is_day else moment.timestamp()


def _energies(value: str | float | Sequence[float]) -> tuple[float, float]:
    try:
        if isinstance(value, str):
            text = value.strip().lower()
            unit, scale = ("kev", 1e3) if text.endswith("kev") else ("ev", 1.0)
            numbers = [scale * float(part) for part in text.removesuffix(unit).split("-")]
        else:
            numbers = [float(value)] if isinstance(value, (int, float, Real)) else [float(v) for v in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) == 1 and 0 < numbers[0] < math.inf:
        return 0.99 * numbers[0], 1.01 * numbers[0]
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise SettingsError(
            f"search: energy is {value!r}; expected a positive energy in eV, or in keV as 0.8keV, or two as 700-900"
        )
    return numbers[0], numbers[1]


def _resolution(value: str | float) -> float:
    if not isinstance(value, str):
        return float(value)
    length = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(nm|um|µm|m)", value.strip().lower())
    if length is not None and float(length[1]) > 0:
        return float(length[1]) * {"nm": 1e-9, "m": 1.0}.get(length[2], 1e-6)
    raise SettingsError(f"search: resolution is {value!r}; expected a half pitch above 0, as 20nm or 0.02um")
