"""The line that scans a region which somebody has drawn on a map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import SettingsError
from ..scan_plan import ScanPlan

LEAST_UM = 0.001
"""Width of a region that is meant; a rectangle may be folded up with its handles."""

Region = tuple[float, float, float, float]
"""``(y_min, y_max, x_min, x_max)`` in µm of the stage."""


def scan_line(start: Mapping[str, Any], plan: ScanPlan, region_um: Region) -> str:
    """Return ``RE(ptycho_scan(...))`` for a region, with step, exposure and names of the scan that is shown.

    Parameters
    ----------
    start : mapping
        Start document of the scan that is shown.
    plan : ScanPlan
    region_um : tuple of float

    Raises
    ------
    SettingsError
        If the region is narrower than :data:`LEAST_UM` or not finite.
    """
    y_min, y_max, x_min, x_max = region_um
    if not (all(map(math.isfinite, region_um)) and min(y_max - y_min, x_max - x_min) >= LEAST_UM):
        raise SettingsError(
            f"region is {region_um}; expected finite limits, the lower first, {LEAST_UM} µm apart or more"
        )
    told = start.get("plan_args")
    told = told if isinstance(told, Mapping) else {}
    axes = plan.axes
    unit_um = 1e6 * axes["y"].metres if "y" in axes else 1.0
    names = device_names(told, plan)
    exposure = f"{plan.exposures_s[0]:g}" if len(plan.exposures_s) == 1 else str(list(plan.exposures_s))
    height, width = (y_max - y_min) / unit_um, (x_max - x_min) / unit_um
    centre = ", ".join(
        f"{round((low + high) / 2 / unit_um, 6) + 0:g}" for low, high in ((y_min, y_max), (x_min, x_max))
    )
    return (
        f"RE(ptycho_scan({', '.join(names)}, centre=[{centre}], width={width:.4g}, height={height:.4g}, "
        f"step={_step_um(told, plan, unit_um) / unit_um:.4g}, exposure={exposure}, "
        f"trajectory={_trajectory(plan)!r}, sample_name={str(start.get('sample_name', 'sample'))!r}))"
    )


def device_names(told: Mapping[str, Any], plan: ScanPlan) -> tuple[str, str, str]:
    """Return how a session most likely calls detector and axes.

    Axes of one stage share the beginning of their names, which ophyd makes of the stage's name and the axis's:
    "stage_y" and "stage_x" are ``stage.y`` and ``stage.x``.
    """
    keys = [str(told.get(axis) or (plan.axes[axis].key if axis in plan.axes else axis)) for axis in "yx"]
    parents = {key.rpartition("_")[0] for key in keys}
    if len(parents) == 1 and "" not in parents:
        keys = [".".join(key.rsplit("_", 1)) for key in keys]
    detector = str(told.get("fccd") or ("detector" if plan.detector is None else plan.detector.name))
    return detector, keys[0], keys[1]


def _step_um(told: Mapping[str, Any], plan: ScanPlan, unit_um: float) -> float:
    step = told.get("step")
    if isinstance(step, (int, float)) and step > 0:
        return float(step) * unit_um
    y_min, y_max, x_min, x_max = plan.extent_m
    area = (y_max - y_min) * (x_max - x_min)
    return 1e6 * (math.sqrt(area / plan.n_points) if area > 0 else max(y_max - y_min, x_max - x_min) / plan.n_points)


def _trajectory(plan: ScanPlan) -> str:
    return plan.trajectory if plan.trajectory in ("spiral", "raster", "snake", "interlaced", "random") else "spiral"
