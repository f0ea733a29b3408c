"""Views of a small scan, for the live picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from bluesky_ptycho.figure import LiveView
from bluesky_ptycho.scan_plan import ScanPlan
from tests.snapshots import make_snapshot


def make_view(**changes: Any) -> LiveView:
    """Return a view in the middle of a scan of 25 points over 0.8 µm, of which 16 are used."""
    whole = make_snapshot()
    plan = ScanPlan.from_positions(whole.positions_m, energy_ev=800.0, distance_m=0.1)
    rng = np.random.default_rng(5)
    clean = rng.poisson(30 * np.exp(-np.add.outer(np.arange(-16, 16) ** 2, np.arange(-16, 16) ** 2) / 40)).astype(
        np.float32
    )
    clean[3, 20:28] = np.nan
    y, x = whole.canvas.coordinates_m()
    coverage = np.exp(-np.add.outer((y - 2e-6) ** 2, (x - 5e-6) ** 2) / (2 * (0.25e-6) ** 2)).astype(np.float32)
    values: dict[str, Any] = {
        "uid": "0123",
        "title": "scan 12 gold",
        "state": "live",
        "plan": plan,
        "geometry": whole.geometry,
        "taken": 17,
        "planned": 25,
        "facts": (("taken", "17 of 25"), ("darks", "of this scan")),
        "messages": ("point 3 is dim",),
        "snapshot": make_snapshot(
            coverage=coverage, seq_nums=np.arange(16), positions_m=whole.positions_m[:16], frc=None
        ),
        "stxm": whole.coverage * np.float32(0.5),
        "newest_point": 17,
        "newest_raw": rng.integers(100, 200, (1, 64, 64)),
        "newest_clean": clean,
        "resolutions": np.array([[8.0, 90e-9], [12.0, np.nan], [16.0, 60e-9]]),
    }
    return LiveView(**(values | changes))
