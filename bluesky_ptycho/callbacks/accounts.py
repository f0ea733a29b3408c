"""What was planned, announced, stored and used, held against each other when a run is over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from ..frames import Snapshot
from ..scan_plan import ScanPlan
from ..words import counted
from .intake import Intake
from .position_checks import usual_step_m
from .updates import in_ranges


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
        was = "was" if planned - came == 1 else "were"
        said.append(f"{planned - came} of {counted(planned, 'planned point')} {was} not measured")
    elif came > planned:
        said.append(f"{counted(came, 'point was', 'points were')} measured; the scan plan says {planned}")
    if missing:
        said.append(f"{counted(len(missing), 'point is', 'points are')} missing: {in_ranges(missing)}")
    if rows := intake.unpaired_rows():
        lost = counted(len(rows), "frame is", "frames are")
        said.append(f"{lost} of no point, and unused: row{'s' * (len(rows) > 1)} {in_ranges(rows)}")
    return said


def share_of_plan(snapshot: Snapshot, plan: ScanPlan) -> float:
    """Return which share of the planned points has a frame in use that was taken no more than a step away.

    Without planned positions it is the share of their number.
    """
    if plan.positions_m is None:
        return min(len(snapshot.seq_nums) / plan.n_points, 1.0)
    step = usual_step_m(plan.positions_m)
    distance, _ = cKDTree(snapshot.positions_m).query(plan.positions_m)
    return float(np.mean(distance <= step * 1.001))
