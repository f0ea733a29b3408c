"""What a run in its middle, or at its end, tells its sinks."""

from __future__ import annotations

import dataclasses
from typing import Any

from bluesky_ptycho.callbacks.updates import Progress, Update
from bluesky_ptycho.scan_plan import Axis
from tests.live_views import make_view

START = {
    "uid": "0123456789abcdef",
    "scan_id": 12,
    "sample_name": "<b>gold</b>",
    "time": 0.0,
    "plan_args": {"fccd": "fccd", "y": "stage_y", "x": "stage_x", "step": 0.08, "width": 0.8, "height": 0.8},
}


def make_update(kind: Any = "snapshot", *, units: str = "um", **changes: Any) -> Update:
    """Return an update of the scan that :func:`make_view` shows, 16 of 25 points used, along axes in `units`."""
    view = make_view()
    axes = {axis: Axis(f"stage_{axis}", units) for axis in "yx"}
    shown = {name: getattr(view, name) for name in ("snapshot", "stxm", "newest_point", "newest_raw", "newest_clean")}
    values: dict[str, Any] = {
        "kind": kind,
        "start": START,
        "plan": dataclasses.replace(view.plan, axes=axes, trajectory="spiral", exposures_s=(0.1,)),
        "geometry": view.geometry,
        "settings": {"solver": {"algorithm": "rpie"}},
        "progress": Progress(25, taken=17, used=16, iteration=12, residual=0.0095),
        "messages": ("point 3 is <i>dim</i>",),
        **(shown if kind in ("snapshot", "final") else {}),
    }
    return Update(**(values | changes))
