"""A camera whose levels move from one scan to the next: the darks are retired, and taken anew."""

import numpy as np

from bluesky_ptycho import LivePtycho, ptycho_scan
from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.plans import dark_records
from bluesky_ptycho.sim import make_beamline

SETTINGS = LiveSettings(frc=False, passes=1)


def test_the_scan_after_the_drift_takes_new_darks(RE, tmp_path):
    with (
        make_beamline(tmp_path, md=RE.md, frame_rate=50.0, settle_time_s=0.0, progress=False) as line,
        LivePtycho(SETTINGS, on_old_darks=lambda plan, uid: dark_records(line.fccd).forget(uid)) as live,
    ):
        RE.subscribe(live)

        def scan():
            field = {"width": 0.2, "height": 0.2, "step": 0.1, "exposure": 0.02, "darks": 10}
            RE(ptycho_scan(line.fccd, line.stage.y, line.stage.x, **field))
            return live.wait(120)

        first, second = scan(), scan()
        assert second.update.plan.dark_uid == second.update.dark_uid == first.raw_uid
        assert not first.update.messages and not second.update.messages
        assert first.progress.dark_drift < 1.5 and second.progress.dark_drift < 1.5
        electronics = line.physics.camera.electronics
        electronics.offsets += np.random.default_rng(1).choice([-25.0, 25.0], electronics.offsets.shape)
        third = scan()
        assert third.update.plan.dark_uid == first.raw_uid and third.progress.dark_drift > 5
        assert "the next scan should take new ones" in third.update.messages[0]
        assert "σ off" in live.status()
        fourth = scan()
        assert fourth.update.plan.dark_uid is None and fourth.update.plan.n_darks == 10
        assert fourth.update.dark_uid == fourth.raw_uid
        assert fourth.progress.dark_drift < 1.5 and not fourth.update.messages
