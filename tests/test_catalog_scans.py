"""Scans of the simulated beamline, through the RunEngine into the catalog and back."""

import h5py
import numpy as np
import pytest
from bluesky import RunEngine

from bluesky_ptycho.catalog import dark_run, frames_uri
from bluesky_ptycho.plans import ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.replay import replay
from bluesky_ptycho.sim import make_beamline

SCAN = {"width": 0.3, "height": 0.3, "step": 0.1, "exposure": 0.01, "sample_name": "gold"}


@pytest.fixture
def session(catalog):
    """A RunEngine that writes into the catalog, and a small simulated beamline."""
    engine = RunEngine()
    engine.subscribe(catalog.raw_writer())
    with make_beamline(
        catalog.frames_dir, md=engine.md, camera="plain", shape=(32, 32), frame_rate=100.0, progress=False
    ) as beamline:
        yield engine, beamline


def frames_of_file(run, stream):
    asset = frames_uri(run, stream)
    with h5py.File(asset.uri.removeprefix("file://localhost"), libver="latest", swmr=True) as file:
        return file[asset.dataset][()]


def test_step_and_fly_scans_are_stored_as_the_camera_wrote_them(catalog, session):
    engine, line = session
    for plan, darks in ((ptycho_scan, 3), (ptycho_fly_scan, 0)):
        documents = []
        token = engine.subscribe(lambda name, doc, seen=documents: seen.append((name, doc)))
        engine(plan(line.fccd, line.stage.y, line.stage.x, darks=darks, **SCAN))
        engine.unsubscribe(token)
        run = catalog[-1]
        points = run.start["ptycho"]["n_points"]
        for stream, n in {"primary": points, **({"dark": darks} if darks else {})}.items():
            frames = frames_of_file(run, stream)
            assert len(frames) == n
            np.testing.assert_array_equal(run[stream]["fccd_image"].read().reshape(frames.shape), frames)
            np.testing.assert_array_equal(run[stream]["fccd_frame_index"].read(), np.arange(n))
        again = []
        replay(-1, catalog, lambda name, doc, seen=again: seen.append((name, doc)))
        assert positions(documents) == positions(again) and len(positions(again)) == points
    assert dark_run(catalog, -2).start["uid"] == catalog[-2].start["uid"]
    assert not list(catalog.backup_dir.iterdir())


def positions(documents):
    """Return frame index → stage position of the primary stream, from events or pages."""
    streams = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    found = {}
    for name, doc in documents:
        if name in ("event", "event_page") and streams[doc["descriptor"]] == "primary":
            columns = [np.atleast_1d(doc["data"][key]) for key in ("fccd_frame_index", "stage_y", "stage_x")]
            found |= {int(row): (float(y), float(x)) for row, y, x in zip(*columns, strict=True)}
    return found
