"""The beam goes away in the midst of a scan: its frames are told, live as in the replay."""

import threading

import numpy as np
import pytest
from bluesky.suspenders import SuspendBoolHigh
from ophyd import Signal

from bluesky_ptycho import LivePtycho, ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.replay import replay

from .scene import SETTINGS

FIELD = {"width": 0.6, "height": 0.6, "step": 0.1, "exposure": 0.005, "darks": 2}
FIRST, N_DARK, TOLD_AFTER = 5, 8, 4
"""Frame with which the dump begins; how many it lasts if nobody pauses; how many of them before the suspender trips."""


@pytest.fixture
def dump(ptycho_beamline):
    """Let the beam go away for some frames; return a list of functions that are told of each dark frame."""
    physics, taken, told = ptycho_beamline.physics, [], []
    take = physics.expose

    def expose(exposure_s, out):
        n = len(taken) - FIELD["darks"] - FIRST
        is_open, away = physics.is_open, 0 <= n < beam.lasts and not beam.back
        physics.is_open = is_open and not away
        take(exposure_s, out)
        physics.is_open = is_open
        taken.append(away)
        if away:
            for tell in told:
                tell(n)

    class Beam:
        back, lasts = False, N_DARK
        on_dark_frame, was_away = told, taken

    beam = Beam()
    physics.expose = expose
    return beam


def measure(RE, catalog, beamline, which):
    """Measure with live analysis, replay; return both outcomes and the stored rows of the frames."""
    with LivePtycho(SETTINGS, catalog=catalog) as live:
        RE.subscribe(catalog.raw_writer())
        RE.subscribe(live)
        (uid,) = RE(which(beamline.fccd, beamline.stage.y, beamline.stage.x, **FIELD))
        outcome = live.wait(120)
    with LivePtycho(SETTINGS, catalog=catalog) as again:
        replay(uid, catalog, again)
        second = again.wait(120)
    stored = catalog[uid]["primary"]["fccd_frame_index"].read()
    return outcome, second, stored


def assert_alike(outcome, second):
    assert dict(second.update.rejected) == dict(outcome.update.rejected)
    np.testing.assert_array_equal(second.snapshot.seq_nums, outcome.snapshot.seq_nums)
    np.testing.assert_allclose(second.snapshot.positions_m, outcome.snapshot.positions_m, atol=1e-12)


DUMP = pytest.mark.fault(
    "26",
    "suspender (beam dump) pauses and rewinds, also in mid-fly",
    bound="frames of the dump flagged; stored streams, live and replay agree",
)
WHICH = [ptycho_scan, pytest.param(ptycho_fly_scan, marks=pytest.mark.slow)]


@DUMP
@pytest.mark.parametrize("which", WHICH)
def test_frames_of_a_dump_are_told_live_and_replayed(which, RE, ptycho_catalog, ptycho_beamline, dump, figure):
    outcome, second, _ = measure(RE, ptycho_catalog, ptycho_beamline, which)
    kinds = {n: reason.partition(":")[0] for n, reason in outcome.update.rejected.items()}
    figure(f"{len(kinds)} of {N_DARK} flagged")
    assert kinds == dict.fromkeys(range(FIRST + 1, FIRST + 1 + N_DARK), "dark")
    assert outcome.progress.kinds == {"dark": N_DARK}
    assert_alike(outcome, second)


@DUMP
@pytest.mark.parametrize("which", WHICH)
def test_a_suspender_pauses_the_scan_until_the_beam_is_back(which, RE, ptycho_catalog, ptycho_beamline, dump, figure):
    """Frames that were taken before it tripped stay dark; the point under way is taken again."""
    lost, suspended = Signal(name="beam_lost", value=0), threading.Event()
    RE.install_suspender(SuspendBoolHigh(lost, sleep=0))
    RE.msg_hook = lambda msg: suspended.set() if msg.command == "_start_suspender" else None
    ptycho_beamline.fccd.frame_rate = 20.0

    def come_back():
        suspended.wait(30)
        dump.back = True
        lost.put(0)

    def tell(n):
        if n + 1 == TOLD_AFTER:
            threading.Timer(0.5, come_back).start()
        if n + 1 >= TOLD_AFTER and not suspended.is_set():
            # As a ring current is told, again and again: a suspender on a busy machine may miss it once.
            lost.put(1)

    dump.lasts = 1000  # longer than the scan
    dump.on_dark_frame.append(tell)
    outcome, second, stored = measure(RE, ptycho_catalog, ptycho_beamline, which)
    dark = sorted(outcome.update.rejected)
    figure(f"suspended: {len(dark)} flagged, {len(outcome.snapshot.seq_nums)} used, {len(stored)} stored")
    assert suspended.is_set() and dump.back and outcome.update.exit_status == "success"
    # The frame during which the suspender trips may be taken again with light.
    assert len(dark) >= TOLD_AFTER - 1
    assert dark == [n for n, row in enumerate(stored, start=1) if dump.was_away[FIELD["darks"] + row]]
    assert set(outcome.progress.kinds) == {"dark"}
    n = outcome.update.plan.n_points
    assert sorted([*outcome.snapshot.seq_nums, *dark]) == list(range(1, n + 1))
    assert len(stored) == n == len(set(stored.tolist()))
    assert_alike(outcome, second)
