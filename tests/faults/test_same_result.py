"""Row 23: a scan that is reconstructed while it runs, replayed from the catalog and as a file gives one image."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from bluesky_ptycho import LivePtycho, LiveSettings
from bluesky_ptycho.io.cxi import read_result_cxi
from bluesky_ptycho.offline import reconstruct_file
from bluesky_ptycho.raw_scan import stored_scan
from bluesky_ptycho.raw_to_cxi import write_clean_cxi
from bluesky_ptycho.recon.metrics import frc, scanned_box
from bluesky_ptycho.recon.registration import register
from bluesky_ptycho.replay import replay
from tests.callbacks.small_data import small_scan

from .scene import Scan, plain_plan

PACE_S = 0.01
MARGIN_PX = 16


def measured(catalog):
    """Store a scan while it is reconstructed; return its uid and the final snapshot."""
    positions_m, patterns, *_ = small_scan(n_side=16, step=3, photons=3e4, blur_px=1.0)
    catalog.frames_dir.mkdir(exist_ok=True)
    scan = Scan(plain_plan(positions_m, (64, 64)), catalog.frames_dir, patterns)
    writer = catalog.raw_writer(flush_s=60.0)
    with LivePtycho(LiveSettings()) as live:
        for name, doc in scan.documents():
            writer(name, doc)
            live(name, doc)
            time.sleep(PACE_S * (name == "event"))
        return scan.start["uid"], live.wait(600).snapshot


def replayed(uid, catalog):
    with LivePtycho(LiveSettings()) as live:
        replay(uid, catalog, live)
        return live.wait(600).snapshot


def offline(uid, catalog, directory):
    """Preprocess the stored scan to a file of clean patterns, and reconstruct that."""
    with stored_scan(uid, catalog, LiveSettings().preprocess) as raw:
        write_clean_cxi(raw, directory / "clean.cxi", progress=False)
    reconstruct_file(directory / "clean.cxi", output=directory, progress=False)
    return read_result_cxi(directory / "result.cxi")


def around_the_scan(snapshot):
    """Return the object in the scanned box and a margin around it."""
    box = scanned_box(snapshot.canvas, snapshot.positions_m)
    return snapshot.object[tuple(slice(s.start - MARGIN_PX, s.stop + MARGIN_PX) for s in box)]


def correlation_at_half_nyquist(one, other):
    """Return the correlation of two images, free of what ptychography leaves open, at half the Nyquist frequency."""
    first, second = around_the_scan(one), around_the_scan(other)
    inner = first[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    found = frc(inner, register(second, first, MARGIN_PX).aligned, one.canvas.pixel_m)
    return float(np.interp(0.25 / max(one.canvas.pixel_m), found["frequency_per_m"], found["correlation"]))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(
    "23", "live against replay against offline", bound="FRC at half Nyquist > 0.95, resolution within 5 %"
)
def test_live_replay_and_offline_give_one_image(catalog, tmp_path, monkeypatch, figure):
    monkeypatch.setattr(
        "bluesky_ptycho.catalog.backup.PATIENCE_S", 600.0
    )  # a busy machine is none of this row's faults
    uid, live = measured(catalog)
    ways = {"live": live, "replay": replayed(uid, catalog), "offline": offline(uid, catalog, tmp_path)}
    resolutions = {name: snapshot.frc["half_bit_m"] for name, snapshot in ways.items()}
    figure(**{f"{name}_nm": value * 1e9 for name, value in resolutions.items()})
    for (name, one), (other_name, other) in itertools.combinations(ways.items(), 2):
        np.testing.assert_allclose(one.positions_m, other.positions_m, atol=1e-12)
        correlation = correlation_at_half_nyquist(one, other)
        figure(**{f"{name}_against_{other_name}": correlation})
        assert correlation > 0.95
        assert resolutions[other_name] == pytest.approx(resolutions[name], rel=0.05)
    assert live.frc_limit_m < min(resolutions.values()), "the pixel, not the data, sets the resolution"
