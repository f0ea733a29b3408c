"""What a scan told and what it stored, to be held against what the camera saw."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import h5py
import numpy as np
from event_model import DocumentNames, schema_validators

from bluesky_ptycho.scan_plan import ScanPlan
from bluesky_ptycho.sim import Beamline


class Seen(NamedTuple):
    """A frame as the camera took it."""

    frame: bytes
    y_um: float
    x_um: float
    is_open: bool
    exposure_s: float


class Recorder:
    """Keep and validate every document."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        schema_validators[DocumentNames[name]].validate(doc)
        self.documents.append((name, copy.deepcopy(doc)))

    def clear(self) -> None:
        self.documents.clear()

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [doc for name, doc in self.documents if name == kind]

    @property
    def start(self) -> dict[str, Any]:
        (start,) = self.all("start")
        return start

    @property
    def stop(self) -> dict[str, Any]:
        (stop,) = self.all("stop")
        return stop

    @property
    def plan(self) -> ScanPlan:
        plan = ScanPlan.from_start(self.start)
        assert plan is not None
        return plan

    def rows(self, stream: str) -> list[dict[str, Any]]:
        """Return the data of the stream's events; the last one of a seq_num wins."""
        uids = {d["uid"] for d in self.all("descriptor") if d["name"] == stream}
        rows: dict[int, dict[str, Any]] = {}
        for event in self.all("event"):
            if event["descriptor"] in uids:
                rows[event["seq_num"]] = event["data"]
        for page in self.all("event_page"):
            if page["descriptor"] in uids:
                for i, seq_num in enumerate(page["seq_num"]):
                    assert seq_num not in rows
                    rows[seq_num] = {key: column[i] for key, column in page["data"].items()}
        assert sorted(rows) == list(range(1, len(rows) + 1))
        return [rows[seq_num] for seq_num in sorted(rows)]

    def path(self, stream: str) -> Path:
        """Return the one file of a stream."""
        uids = {d["uid"] for d in self.all("descriptor") if d["name"] == stream}
        resources = {d["stream_resource"] for d in self.all("stream_datum") if d["descriptor"] in uids}
        (resource,) = [d for d in self.all("stream_resource") if d["uid"] in resources]
        return Path(unquote(urlparse(resource["uri"]).path))

    def frames(self, stream: str) -> np.ndarray:
        with h5py.File(self.path(stream), "r") as file:
            return file["/entry/data/data"][()]


def watch(beamline: Beamline) -> list[Seen]:
    """Return a list that grows with every frame that the camera takes."""
    physics, seen = beamline.physics, []
    take = physics.expose

    def expose(exposure_s: float, out: np.ndarray) -> None:
        take(exposure_s, out)
        y, x = (physics._setpoint[axis] * 1e-6 for axis in ("y", "x"))
        out[0, 0] = len(seen)  # makes every frame unique, dark ones too
        seen.append(Seen(out.tobytes(), y, x, physics.is_open, exposure_s))

    physics.expose = expose  # type: ignore[method-assign]
    return seen


def assert_stored_is_measured(recorder: Recorder, seen: list[Seen], stream: str, n_events: int | None = None) -> None:
    """Check every row: its frames are those taken where the stage was, shutter and exposure as they should be."""
    plan, rows, frames = recorder.plan, recorder.rows(stream), recorder.frames(stream)
    expected = plan.n_points if stream == plan.frames_stream else plan.n_darks
    assert len(rows) == (expected if n_events is None else n_events)
    taken: dict[bytes, Seen] = {s.frame: s for s in seen}
    assert len(taken) == len(seen)
    for i, row in enumerate(rows):
        first = row["fccd_frame_index"]
        for k, exposure in enumerate(plan.exposures_s):
            shot = taken[frames[first + k].tobytes()]
            assert shot.exposure_s == exposure
            assert shot.is_open == (stream == plan.frames_stream)
            if stream == plan.frames_stream:
                planned = plan.positions_m[i] * 1e6
                np.testing.assert_allclose((shot.y_um, shot.x_um), planned, atol=1e-5)
                np.testing.assert_allclose((row["stage_y"], row["stage_x"]), planned, atol=0.02)
    described = [d["indices"] for d in recorder.all("stream_datum")]
    assert described, "no frames were announced"
