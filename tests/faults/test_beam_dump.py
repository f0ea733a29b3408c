"""The beam goes away in the midst of a scan: its frames are told, live as in the replay."""

import numpy as np
import pytest

from bluesky_ptycho import LivePtycho, ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.replay import replay

from .scene import SETTINGS


@pytest.mark.parametrize("which", [ptycho_scan, pytest.param(ptycho_fly_scan, marks=pytest.mark.slow)])
def test_frames_of_a_dump_are_told_live_and_replayed(which, RE, ptycho_catalog, ptycho_beamline):
    physics, taken = ptycho_beamline.physics, []
    take = physics.expose

    def expose(exposure_s, out):
        is_open = physics.is_open
        physics.is_open = is_open and not 5 <= len(taken) - 2 < 13  # the first two are darks
        take(exposure_s, out)
        physics.is_open = is_open
        taken.append(out.copy())

    physics.expose = expose
    stage, fccd = ptycho_beamline.stage, ptycho_beamline.fccd
    with LivePtycho(SETTINGS, catalog=ptycho_catalog) as live:
        RE.subscribe(ptycho_catalog.raw_writer())
        RE.subscribe(live)
        (uid,) = RE(which(fccd, stage.y, stage.x, width=0.6, height=0.6, step=0.1, exposure=0.005, darks=2))
        outcome = live.wait(120)
    assert {n: reason.partition(":")[0] for n, reason in outcome.update.rejected.items()} == dict.fromkeys(
        range(6, 14), "dark"
    )
    assert outcome.progress.kinds == {"dark": 8}
    assert "8 rejected (8 dark)" in live.status()
    with LivePtycho(SETTINGS, catalog=ptycho_catalog) as again:
        replay(uid, ptycho_catalog, again)
        second = again.wait(120)
    assert dict(second.update.rejected) == dict(outcome.update.rejected)
    np.testing.assert_array_equal(second.snapshot.seq_nums, outcome.snapshot.seq_nums)
