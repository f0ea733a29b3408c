"""A plan that says 1600 points, of which 1200 come, or 2000."""

import numpy as np
import pytest

from tests.callbacks.small_data import PIXEL_M

from .scene import SETTINGS, Scan, plain_plan, reconstruct

PLANNED = 1600
GRID_M = np.stack(np.divmod(np.arange(2000), 40), axis=1) * 2 * PIXEL_M
QUICK = SETTINGS.replace(passes=1, chunk=64)


@pytest.mark.fault(
    "18", "the scan plan says 1600, 1200 come, or 2000", bound="ends cleanly; counts and coverage in the result"
)
@pytest.mark.parametrize(("came", "said"), [
    (1200, "400 of 1600 planned points were not measured"),
    (1600, None),
    (2000, "2000 points were measured; the scan plan says 1600"),
])  # fmt: skip
def test_another_number_of_points_than_planned(came, said, tmp_path, figure):
    frames = np.random.default_rng(5).poisson(30, (came, 32, 32)).astype(np.uint16)
    frames[:, 8:24, 8:24] += 400
    scan = Scan(plain_plan(GRID_M[:PLANNED], (32, 32)), tmp_path, frames)

    def documents():
        yield ("start", scan.start)
        yield from scan.open_stream()
        for row in range(came):
            yield scan.event(row + 1, row, GRID_M[row] * 1e6)
            yield scan.stored(row, row + 1)
        yield scan.stop()

    outcome, results = reconstruct(documents(), tmp_path, QUICK)
    summary = results.summary()
    counts = [summary[f"frames_{name}"] for name in ("planned", "taken", "used", "rejected", "missing")]
    figure(f"{came} came: {outcome.update.exit_status}, coverage {summary['coverage_of_plan']:.3f}")
    assert outcome.update.exit_status == "success"
    assert counts == [PLANNED, came, came, 0, 0]
    assert (said in summary["messages"]) if said else not summary["messages"]
    share = min(came / PLANNED, 1.0)
    assert share - 0.02 < summary["coverage_of_plan"] < min(share + 0.1, 1.001)
