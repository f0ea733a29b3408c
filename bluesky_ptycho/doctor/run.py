"""Checks of one stored run: units, axes, frames, darks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..callbacks.document_keys import read_descriptor, read_plan
from ..errors import PtychoError
from ..preprocess import PreprocessSettings, output_geometry
from ..raw_scan import stored_scan
from ..replay import stored_documents
from .findings import Finding, bad, good, note

LOOK_INTO = "the session's devices and plan name units and keys: correct them there, for the next scan"


def check_run(uid: Any, catalog: Any) -> Iterator[Finding]:
    """Look whether a run says all that a reconstruction needs, and whether its frames are where it says."""
    run = catalog[uid]
    if (raw_uid := run.metadata["start"].get("raw_uid")) is not None:  # a reconstruction: its scan is meant
        run = catalog[raw_uid]
    start = run.metadata["start"]
    title = f"scan {start.get('scan_id', '?')} {start.get('sample_name', '')} ({start['uid'][:8]})"
    try:
        plan = read_plan(start)
    except PtychoError as error:
        yield bad("run", f"{title}: {error}", LOOK_INTO)
        return
    if plan is None:
        yield note("run", f"{title} is no ptychography scan", "name one: bluesky-ptycho doctor UID")
        return
    detector = plan.detector
    assert detector is not None
    yield good("run", f"{title}: {plan.n_points} points, {plan.energy_ev:g} eV, {plan.distance_m:g} m")
    axes = ", ".join(f"{name} is {axis.key} in {axis.units}" for name, axis in plan.axes.items())
    y_min, y_max, x_min, x_max = (1e6 * v for v in plan.extent_m)
    field = f"{y_max - y_min:.3g} × {x_max - x_min:.3g} µm (y × x)"
    try:
        streams = [read_descriptor(doc, plan) for name, doc in stored_documents(run) if name == "descriptor"]
        geometry = output_geometry(plan, PreprocessSettings())
    except PtychoError as error:
        yield bad("units, axes", f"{axes}: {error}", LOOK_INTO)
        return
    known = [info.name for info in streams if info is not None]
    pixel_y, pixel_x = (1e9 * v for v in geometry.object_pixel_m)
    yield good(
        "units, axes", f"{axes}; field {field}, object pixels {pixel_y:.3g} × {pixel_x:.3g} nm; {', '.join(known)}"
    )
    yield from _check_frames(uid, catalog)


def _check_frames(uid: Any, catalog: Any) -> Iterator[Finding]:
    try:
        with stored_scan(uid, catalog, PreprocessSettings()) as scan:
            ends = [scan.points[0], scan.points[-1]]
            frames, problems = scan.read(ends)
            if problems:
                yield bad("frames", next(iter(problems.values())), "see that the files are whole and within reach")
                return
            values = f"{frames.dtype}, {int(np.min(frames))} to {int(np.max(frames))} in the first and last"
            missing = scan.plan.n_points - len(scan.points)
            text = f"{len(scan.points)} points of {' × '.join(map(str, frames.shape[2:]))} pixels, {values}"
            yield note("frames", f"{text}; {missing} planned points are not there") if missing else good("frames", text)
            if scan.darks.message:
                yield note("darks", scan.darks.message, "take darks with the scan: ptycho_scan(..., darks=10)")
            elif scan.darks.darks is not None:
                yield good("darks", f"{scan.darks.darks[0].n} frames, fitting")
            else:
                yield good("darks", "none needed")
    except PtychoError as error:
        remedy = "open the catalog with frames=[DIRECTORY] for directories outside of it, or mount what is missing here"
        yield bad("frames", str(error), remedy)
