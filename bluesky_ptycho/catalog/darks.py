"""Find the darks of a run, or those of an earlier one that serve it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..callbacks.dark_store import Darks, darks_of_documents
from ..errors import MetadataError
from ..scan_plan import ScanPlan
from .embedded import readable_roots
from .tree import plain


def darks_of_run(run: Any) -> Darks | None:
    """Return the dark models of a stored run, one for each exposure; None if it has none."""
    return darks_of_documents(run.documents(), frame_roots=readable_roots(run) or ())


def nearest_darks(raw: Any, plan: ScanPlan, before_s: float) -> tuple[str, Darks] | None:
    """Return uid and dark models of the last scan in `raw` before a time (s since epoch) whose darks serve `plan`.

    They are of the same detector, layout, shape, gain and exposures and no older than the plan allows. Scans whose
    darks cannot be read any more are passed over.
    """
    for run in _scans_with_darks(raw, plan, before_s):
        try:
            darks = darks_of_run(run)
        except MetadataError:
            continue
        if darks is not None:
            return str(run.start["uid"]), darks
    return None


def _scans_with_darks(raw: Any, plan: ScanPlan, before_s: float) -> Iterator[Any]:
    """Yield the scans with darks of their own that serve `plan`, the last before `before_s` first."""
    from tiled.queries import Comparison

    recent = plain(raw).search(Comparison("ge", "start.time", before_s - plan.max_dark_age_s))
    for run in reversed(recent.search(Comparison("lt", "start.time", before_s)).values()):
        try:
            stored = ScanPlan.from_start(run.metadata["start"])
        except MetadataError:  # of another version, say
            continue
        if stored is not None and stored.n_darks and stored.dark_conditions == plan.dark_conditions:
            yield run
