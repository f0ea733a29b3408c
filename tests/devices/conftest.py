"""A small simulated beamline, documents kept, and a plan over a list of points."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import h5py
import numpy as np
import pytest
from bluesky.utils import MsgGenerator

from bluesky_ptycho.frames import Acquisition
from bluesky_ptycho.sim import Beamline, make_beamline


class Documents:
    """Documents of one run, by name, validated as they come."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        from event_model import DocumentNames, schema_validators

        schema_validators[DocumentNames[name]].validate(doc)
        self.all.append((name, doc))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for n, doc in self.all if n == name]

    def stream(self, name: str) -> str:
        (uid,) = [d["uid"] for d in self.named("descriptor") if d["name"] == name]
        return uid

    def rows(self, stream: str = "primary") -> list[dict[str, Any]]:
        """Return the data of all rows of a stream, the last of each seq_num, in order."""
        uid, rows = self.stream(stream), {}
        for name, doc in self.all:
            if doc.get("descriptor") != uid:
                continue
            if name == "event":
                rows[doc["seq_num"]] = doc["data"]
            elif name == "event_page":
                for i, seq_num in enumerate(doc["seq_num"]):
                    rows[seq_num] = {key: column[i] for key, column in doc["data"].items()}
        assert list(rows) == sorted(rows)
        return list(rows.values())

    def indices(self, stream: str = "primary") -> list[int]:
        """Return all indices that the stream_datum documents of a stream speak of, in order."""
        uid = self.stream(stream)
        ranges = [d["indices"] for d in self.named("stream_datum") if d["descriptor"] == uid]
        return [i for r in ranges for i in range(r["start"], r["stop"])]

    def path(self, stream: str = "primary") -> Path:
        """Return the one file of a stream."""
        uid = self.stream(stream)
        resources = {d["stream_resource"] for d in self.named("stream_datum") if d["descriptor"] == uid}
        (resource,) = [d for d in self.named("stream_resource") if d["uid"] in resources]
        assert resource["uri"].startswith("file://localhost/")
        return Path(resource["uri"].removeprefix("file://localhost"))


def read_frames(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file["entry/data/data"][:]


def assert_consistent(documents: Documents, beamline: Beamline, stream: str = "primary", per_event: int = 1) -> None:
    """Every row of the file is announced once, and every event's frames are in the file."""
    path = documents.path(stream)
    with h5py.File(path, "r") as file:
        n_rows = len(file["entry/data/data"])
        assert len(file["entry/data/exposure_s"]) == len(file["entry/data/timestamp"]) == n_rows
    assert documents.indices(stream) == list(range(n_rows // per_event))
    rows = [row["fccd_frame_index"] for row in documents.rows(stream)]
    assert len(set(rows)) == len(rows) and max(rows) + per_event <= n_rows
    assert beamline.fccd._stream is None
    assert not [t for t in threading.enumerate() if t.name.startswith(("fccd", "render"))]


@pytest.fixture
def beamline(tmp_path: Path) -> Iterator[Beamline]:
    with make_beamline(
        tmp_path, camera="plain", shape=(32, 32), frame_rate=200, exposure_s=0.005, settle_time_s=0.002, progress=False
    ) as made:
        yield made


@pytest.fixture
def documents(RE: Any) -> Documents:
    kept = Documents()
    RE.subscribe(kept)
    return kept


POINTS = np.array([[0.1 * (i // 4), 0.1 * (i % 4)] for i in range(12)])


@pytest.fixture
def step_scan(beamline: Beamline) -> Callable[..., MsgGenerator[None]]:
    """A step scan over POINTS with two darks, as plans do it."""

    def scan(
        at_point: Callable[[int], MsgGenerator[None]] | None = None, exposures_s: tuple[float, ...] = (0.005,)
    ) -> MsgGenerator[None]:
        fccd, stage, shutter = beamline.fccd, beamline.stage, beamline.shutter
        primary = Acquisition("primary", len(POINTS), exposures_s, POINTS)
        yield from bps.stage(fccd)
        yield from bps.open_run()
        yield from bps.checkpoint()
        yield from bps.prepare(fccd, Acquisition("dark", 2, exposures_s), wait=True)
        for _ in range(2):
            yield from bps.checkpoint()
            yield from bps.trigger_and_read([fccd], name="dark")
        yield from bps.checkpoint()
        yield from bps.prepare(fccd, primary, wait=True)
        yield from bps.mv(shutter, "open")
        for i, (y, x) in enumerate(POINTS):
            yield from bps.checkpoint()
            yield from bps.mv(stage.y, y, stage.x, x)
            if at_point is not None:
                yield from at_point(i)
            yield from bps.trigger_and_read([fccd, stage.y, stage.x])
        yield from bps.checkpoint()
        yield from bps.close_run()
        yield from bps.unstage(fccd)

    return scan
