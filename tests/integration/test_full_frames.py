"""Raw FCCD frames from the plan to the known object: two exposures, wire order, a picture as the sample."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bluesky_ptycho import LivePtycho, ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.recon.metrics import object_nrmse, scanned_box
from bluesky_ptycho.sim import make_beamline

FIELD = {"width": 0.48, "height": 0.48, "step": 0.08, "darks": 3}


@pytest.mark.parametrize(
    ("plan", "layout", "exposure", "passes", "bound"),
    [
        (ptycho_scan, "fccd-assembled", [0.02, 0.1], 40, 0.035),
        pytest.param(ptycho_fly_scan, "fccd-wire", [0.1, 0.02], 40, 0.035, marks=pytest.mark.slow),
        # Without a short exposure the bright centre is saturated, and what lies under the mask takes its time.
        pytest.param(ptycho_scan, "fccd-wire", 0.1, 100, 0.06, marks=pytest.mark.slow),
    ],
)
def test_exposures_and_orders_of_the_raw_frame(plan, layout, exposure, passes, bound, RE, tmp_path):
    with (
        make_beamline(
            tmp_path, md=RE.md, layout=layout, photons=1e7, frame_rate=50, exposure_s=0.1, progress=False
        ) as beamline,
        LivePtycho(LiveSettings(frc=False, passes=passes)) as live,
    ):
        RE(plan(beamline.fccd, beamline.stage.y, beamline.stage.x, exposure=exposure, **FIELD), live)
        outcome = live.wait(120)
        snapshot = outcome.snapshot
        truth = beamline.truth(snapshot.canvas)
    assert (outcome.progress.used, outcome.update.dark_corrected) == (36, True)
    assert object_nrmse(snapshot.object, truth, scanned_box(snapshot.canvas, snapshot.positions_m)) < bound


@pytest.mark.slow
def test_an_image_file_is_the_sample(RE, tmp_path):
    grains = np.random.default_rng(0).integers(0, 256, (80, 120), dtype=np.uint8)  # 50 nm each
    Image.fromarray(grains).save(tmp_path / "grains.png")
    with (
        make_beamline(tmp_path, md=RE.md, sample=tmp_path / "grains.png", frame_rate=50, progress=False) as beamline,
        LivePtycho(LiveSettings(frc=False)) as live,
    ):
        RE(ptycho_scan(beamline.fccd, beamline.stage.y, beamline.stage.x, exposure=0.02, **FIELD), live)
        snapshot = live.wait(120).snapshot
        truth = beamline.truth(snapshot.canvas)
    box = scanned_box(snapshot.canvas, snapshot.positions_m)
    error = object_nrmse(snapshot.object, truth, box)
    assert error < 0.1
    assert object_nrmse(snapshot.object, truth[:, ::-1], box) > 2 * error
