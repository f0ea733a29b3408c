"""Find the probe of an earlier reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..callbacks.document_keys import ANALYSIS
from ..callbacks.first_probe import TOLERANCE, LastProbe, misfit
from ..geometry import Geometry
from .newest import holds_image
from .tree import plain

_MOST = 50
"""Results looked at, so that a scan does not wait for a long list."""


def last_probe(processed: Any, geometry: Geometry, before_s: float) -> LastProbe | None:
    """Return the probe of the newest good result begun before a time.

    Parameters
    ----------
    processed : tiled client
        Container of results.
    geometry : Geometry
        A result measured like that is preferred to a newer one that was not.
    before_s : float
        In s since epoch.

    Returns
    -------
    LastProbe or None
        None where there is no good result at all.
    """
    from tiled.queries import Comparison, Eq

    good = plain(processed).search(Eq("start.analysis", ANALYSIS)).search(Eq("stop.exit_status", "success"))
    good = good.search(Comparison("lt", "start.time", before_s))
    alike = good
    for name in ("energy_ev", "distance_m"):
        value, key = getattr(geometry, name), f"start.geometry.{name}"
        alike = alike.search(Comparison("ge", key, value * (1 - TOLERANCE)))
        alike = alike.search(Comparison("le", key, value * (1 + TOLERANCE)))
    for run in filter(holds_image, alike.values()[::-1][:_MOST]):
        found = _probe_of(run)
        if misfit(found.geometry, geometry) is None:
            return found
    newest = next(filter(holds_image, good.values()[::-1][:_MOST]), None)
    return None if newest is None else _probe_of(newest)


def _probe_of(run: Any) -> LastProbe:
    start = run.metadata["start"]
    # Each array of a result is stored with one row.
    return LastProbe(
        start["uid"],
        Geometry.from_dict(start["geometry"]),
        lambda: np.asarray(run["primary"]["probe"][0]),  # each array of a result is stored with one row
        start.get("data_session"),
    )
