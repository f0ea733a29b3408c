"""A scan paused in the middle of a row: live documents, stored table and file agree."""

from __future__ import annotations

import threading

import h5py
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from bluesky_ptycho.catalog import frames_uri
from bluesky_ptycho.plans import ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.sim import make_beamline

from .recording import assert_stored_is_measured, watch


@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
def test_live_is_stored(RE, recorder, catalog, which):
    RE.subscribe(catalog.raw_writer())
    with make_beamline(
        catalog.frames_dir, md=RE.md, camera="plain", shape=(32, 32), frame_rate=20.0, progress=False
    ) as line:
        seen = watch(line)

        take = line.physics.expose

        def expose(exposure_s, out):
            take(exposure_s, out)
            if len(seen) == 6:  # the camera's own count: the plan may not look while just six are there
                threading.Timer(0.02, RE.request_pause).start()

        line.physics.expose = expose
        field = {"width": 0.4, "height": 0.3, "step": 0.1, "exposure": 0.05, "trajectory": "raster"}
        with pytest.raises(RunEngineInterrupted):
            RE(which(line.fccd, line.stage.y, line.stage.x, **field, darks=1))
        RE.resume()
    assert_stored_is_measured(recorder, seen, "primary")
    stored = {key: catalog[-1]["primary"][key].read() for key in ("fccd_frame_index", "stage_y", "stage_x")}
    live = recorder.rows("primary")
    for key, column in stored.items():
        np.testing.assert_array_equal(column, [r[key] for r in live])
    asset = frames_uri(catalog[-1], "primary")
    with h5py.File(asset.uri.removeprefix("file://localhost")) as file:
        np.testing.assert_array_equal(file[asset.dataset][()], recorder.frames("primary"))
    rows = catalog[-1]["primary"]["fccd_image"].read().reshape(-1, 32, 32)
    np.testing.assert_array_equal(rows, recorder.frames("primary")[: len(rows)])
    assert len(rows) > max(stored["fccd_frame_index"])
