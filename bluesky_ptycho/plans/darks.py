"""Dark frames: when to take them, and how to find those of an earlier run."""

from __future__ import annotations

import time
import weakref
from collections.abc import MutableMapping
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from ..frames import Acquisition
from ..given import check_device, check_type
from ..scan_plan import MAX_DARK_AGE_S, ScanPlan
from .beamline import Shutter


class DarkRecords:
    """Which runs hold usable darks of one detector.

    Parameters
    ----------
    storage : mutable mapping, optional
        Holds the records as JSON can hold them. A dictionary unless given; with
        a mapping that is kept on disk they outlive the session.
    """

    def __init__(self, storage: MutableMapping[str, Any] | None = None) -> None:
        self.storage: MutableMapping[str, Any] = {} if storage is None else storage

    def remember(self, plan: ScanPlan, uid: str) -> None:
        """Note that run `uid` holds the darks of `plan`, taken just now."""
        self.remember_for(plan.dark_conditions, plan.n_darks, uid, is_scan=True)

    def remember_for(self, conditions: str, n_darks: int, uid: str, *, is_scan: bool) -> None:
        """Note that run `uid`, a ptychography scan or not, holds darks taken under `conditions` just now."""
        self.storage[conditions] = {"uid": uid, "time": time.time(), "n": n_darks, "is_scan": is_scan}

    def find(self, plan: ScanPlan, max_age_s: float = MAX_DARK_AGE_S) -> str | None:
        """Return the uid of the run with darks that serve `plan`; None if there is none.

        They must be of the same detector, layout, shape, gain and exposures, no fewer than
        ``plan.n_darks`` and younger than `max_age_s`.
        """
        return self.find_for(plan.dark_conditions, plan.n_darks, max_age_s, is_scan=True)

    def find_for(self, conditions: str, n_darks: int, max_age_s: float, *, is_scan: bool) -> str | None:
        """Return the uid of the run with at least `n_darks` darks taken under `conditions`; None if there is none.

        A ptychography scan (`is_scan`) takes only those of another one: who analyses it reads no other run.
        """
        record = self.storage.get(conditions)
        if record is None or record["n"] < n_darks or not 0.0 <= time.time() - record["time"] < max_age_s:
            return None
        return str(record["uid"]) if record.get("is_scan", True) or not is_scan else None

    def forget(self, uid: str) -> None:
        """Use the darks of run `uid` no more: the next scan takes new ones."""
        for conditions in [key for key, record in self.storage.items() if record["uid"] == uid]:
            del self.storage[conditions]


_records: weakref.WeakKeyDictionary[Any, DarkRecords] = weakref.WeakKeyDictionary()


def dark_records(detector: Any) -> DarkRecords:
    """Return the records of a detector; they live as long as the device object does."""
    return _records.setdefault(detector, DarkRecords())


def keep_dark_records(detector: Any, storage: MutableMapping[str, Any]) -> DarkRecords:
    """Keep a detector's records in `storage` from now on, and return them.

    Raises
    ------
    SettingsError
        If `detector` is none, or nothing can be kept in `storage`.

    Examples
    --------
    >>> from bluesky_ptycho.metadata_file import MetadataFile
    >>> keep_dark_records(fccd, MetadataFile(Path("darks.json")))  # doctest: +SKIP
    """
    check_device("detector", detector, "a detector")
    check_type("storage", storage, MutableMapping, "a dictionary, or a MetadataFile")
    records = _records[detector] = DarkRecords(storage)
    return records


def dark_acquisition(plan: ScanPlan, stream: str | None, label: str) -> Acquisition:
    """Return what to prepare a detector with for the darks of a plan."""
    return Acquisition(stream, plan.n_darks, plan.exposures_s, None, label)


def take_darks(fccd: Any, shutter: Shutter, plan: ScanPlan, label: str) -> MsgGenerator[None]:
    """Take ``plan.n_darks`` events in the dark stream with the shutter closed, within an open run."""
    yield from shutter.close()
    yield from bps.prepare(fccd, dark_acquisition(plan, plan.dark_stream, label), wait=True)
    for _ in range(plan.n_darks):
        yield from bps.checkpoint()
        yield from bps.trigger_and_read([fccd], name=plan.dark_stream)
    yield from bps.checkpoint()
