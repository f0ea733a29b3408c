"""What was planned, announced, stored and used, held against each other when a run is over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..frames import Snapshot
from ..scan_plan import ScanPlan
from .intake import Intake
from .updates import in_ranges

LIT = 0.05
"""Share of the usual light from which a pixel of the planned field counts as covered."""


def accounts(intake: Intake, missing: Sequence[int]) -> list[str]:
    """Return, one line each, which counts do not agree.

    Parameters
    ----------
    intake : Intake
        Of a run that is over.
    missing : sequence of int
        Points that were neither used nor rejected.
    """
    said = []
    came, planned = len(intake.expected()), intake.plan.n_points
    if came < planned:
        said.append(f"{planned - came} of {planned} planned points were not measured")
    elif came > planned:
        said.append(f"{came} points were measured; the scan plan says {planned}")
    if missing:
        said.append(f"{len(missing)} points are missing: {in_ranges(missing)}")
    if rows := intake.unpaired_rows():
        said.append(f"{len(rows)} frames are of no point, and unused: rows {in_ranges(rows)}")
    return said


def share_of_plan(snapshot: Snapshot, plan: ScanPlan) -> float:
    """Return which share of the planned field has received light."""
    y_min, y_max, x_min, x_max = plan.extent_m
    field = snapshot.coverage[snapshot.canvas.scanned_box([(y_min, x_min), (y_max, x_max)])]
    usual = np.quantile(field, 0.9)
    return float(np.mean(field > LIT * usual)) if usual > 0 else 0.0
