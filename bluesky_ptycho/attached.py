"""Which live reconstructions are attached to which RunEngine, and which scans each of them takes."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .scan_plan import ScanPlan
from .terminal import announce

if TYPE_CHECKING:
    from .callbacks import LivePtycho
    from .catalog import Catalog

POLL_S = 0.5


@dataclass(frozen=True)
class Wanted:
    """What :func:`~bluesky_ptycho.attach` was told of the scans to be taken; None for any.

    Parameters
    ----------
    detector : str or None
    axes : tuple of str or None
        ``(y, x)``.
    frames_key : str or None
        Data key of the frames, for scans of other plans.
    """

    detector: str | None = None
    axes: tuple[str, ...] | None = None
    frames_key: str | None = None

    def objection(self, plan: ScanPlan) -> str:
        """Return what is against a scan; empty if it is one of these."""
        detector, axes = plan.detector and plan.detector.name, (plan.axes["y"].key, plan.axes["x"].key)
        if self.detector not in (None, detector):
            return f"its detector is {detector or 'not named'}; attach was told {self.detector}"
        if self.axes not in (None, axes):
            return f"its axes are {', '.join(axes)}; attach was told {', '.join(self.axes or ())}"
        return ""

    def meets(self, other: Wanted) -> bool:
        """Tell whether one scan may be of both; with data keys of its own each has scans that the other cannot have."""
        pairs = (self.detector, other.detector), (self.axes, other.axes)
        return self.frames_key == other.frames_key and all(None in pair or pair[0] == pair[1] for pair in pairs)


@dataclass(frozen=True)
class _Attached:
    run_engine: weakref.ref[Any]
    catalog: str
    wanted: Wanted


_attached: weakref.WeakKeyDictionary[LivePtycho, _Attached] = weakref.WeakKeyDictionary()


def place_of(catalog: Catalog | None) -> str:
    """Return by what two ways to one catalog are known; empty for none."""
    from .catalog.embedded import directory_of

    return "" if catalog is None else str(directory_of(catalog.raw) or catalog.raw.uri)


def note_attached(live: LivePtycho, RE: Any, catalog: str, wanted: Wanted) -> None:
    """Remember what was attached; a stand-in for a RunEngine that cannot be referred to weakly is left out."""
    try:
        _attached[live] = _Attached(weakref.ref(RE), catalog, wanted)
    except TypeError:
        return


def attached_to(RE: Any) -> list[LivePtycho]:
    """Return what is attached to a RunEngine and not closed."""
    return [live for live, _ in _of(RE)]


def is_taken_by_any(RE: Any, plan: ScanPlan) -> bool:
    """Tell whether something that is attached to a RunEngine takes a scan."""
    return any(not attached.wanted.objection(plan) for _, attached in _of(RE))


def give_way(RE: Any, catalog: str, wanted: Wanted, control: Any = None) -> None:
    """Let what is attached to `RE` with the same catalog and may take the same scans end, and say so.

    A scan that is under way there is still reconstructed to its end, which nobody waits for.

    Parameters
    ----------
    RE : RunEngine
    catalog : str
        As :func:`place_of` names it.
    wanted : Wanted
        What is taken from now on.
    control : ReconControl, optional
        The knobs from now on.
    """
    for live, attached in _of(RE):
        if attached.catalog != catalog or not attached.wanted.meets(wanted):
            continue
        live.retire()
        under_way = live.under_way
        if not under_way:  # else its documents are yet to come; closed it lets all others pass
            RE.unsubscribe(live.token)
        threading.Thread(target=_close, args=(live,), name="closing what was attached", daemon=True).start()
        rest = ", once its scan is done" if under_way else ""
        announce(
            f"attach: what was attached before is closed{rest}, so that no scan has two results; beside=True keeps it"
        )
        if live.control not in (None, control):
            name = live.control.name
            announce(f"attach: the knobs of {name} turn nothing from now on; control={name} takes them over")


def _close(live: LivePtycho) -> None:
    while live.under_way:
        time.sleep(POLL_S)
    live.close()


def _of(RE: Any) -> Iterator[tuple[LivePtycho, _Attached]]:
    for live, attached in list(_attached.items()):
        if attached.run_engine() is RE and not live.is_closed:
            yield live, attached
