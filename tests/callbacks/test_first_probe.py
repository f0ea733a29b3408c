"""Which probe a scan starts from, and what the user is told where it is not the last one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.callbacks.first_probe import LastProbe, choose_first_probe
from bluesky_ptycho.geometry import Geometry

from .live_scan import documents_in_order, make_run, play
from .small_data import small_scan

GEOMETRY = Geometry(800.0, 0.121, (120e-6, 120e-6), (64, 64))
UID = "1a2b3c4d-0000-4000-8000-000000000000"
LAST = LiveSettings(frc=False, passes=5, first_probe="last")


def a_probe(**changes):
    return np.ones((2, 64, 64), np.complex64), dataclasses.replace(GEOMETRY, **changes)


def choose(probe, geometry):
    return choose_first_probe(lambda *_: LastProbe(UID, geometry, lambda: probe), GEOMETRY, 0.0)


@pytest.mark.parametrize("changes", [{}, {"energy_ev": 800.7}, {"distance_m": 0.12105}])
def test_a_probe_of_the_same_geometry_is_taken(changes):
    probe, geometry = a_probe(**changes)
    found = choose(probe, geometry)
    assert found.modes is probe
    assert (found.uid, found.objection) == (UID, "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"energy_ev": 710.2}, "at 710.2 eV; expected 800 eV"),
        ({"distance_m": 0.2}, "at 0.2 m from the detector; expected 0.121 m from the detector"),
        ({"shape": (64, 128)}, "with patterns of 64 x 128 pixels; expected patterns of 64 x 64 pixels"),
        (
            {"pixel_m": (120e-6, 60e-6)},
            "with object pixels of 24.417 x 48.835 nm; expected object pixels of 24.417 x 24.417 nm",
        ),
        ({"propagation": "near"}, "in the near field; expected the far field"),
    ],
)
def test_a_probe_of_another_geometry_is_refused_with_value_and_expectation(changes, says):
    probe, geometry = a_probe(**changes)
    found = choose(probe, geometry)
    assert found.modes is found.uid is None
    assert found.objection == f"the last probe (run 1a2b3c4d) was measured {says}"


@pytest.mark.parametrize(
    ("probe", "says"),
    [
        (np.full((1, 64, 64), np.nan, np.complex64), "holds values that are not finite; expected finite ones"),
        (np.zeros((1, 64, 64), np.complex64), "is zero; expected a wave"),
        (np.ones((64, 64), np.complex64), "has shape (64, 64); expected (modes, 64, 64)"),
    ],
)
def test_a_stored_probe_that_is_none_is_refused(probe, says):
    found = choose(probe, GEOMETRY)
    assert (found.modes, found.objection) == (None, f"the last probe (run 1a2b3c4d) {says}")


class Holder:
    """Stands for a catalog with one probe; what it finds is an error where `found` is its text."""

    def __init__(self, directory, found):
        self.results_dir, self.found, self.asked, self.stops = directory, found, [], []

    def result_writer(self):
        return lambda name, doc: self.stops.append(doc) if name == "stop" else None

    def last_probe(self, geometry, before_s):
        self.asked.append((geometry, before_s))
        if isinstance(self.found, str):
            raise OSError(self.found)
        return self.found


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (LastProbe(UID, a_probe(energy_ev=710.2)[1], None), "was measured at 710.2 eV; expected 800 eV"),
        ("the server is gone", "the last probe cannot be had (OSError: the server is gone)"),
        (None, "there is no earlier good result to take the probe from"),
    ],
    ids=["mismatch", "error", "none"],
)
def test_without_a_fitting_probe_the_scan_goes_on_and_the_user_is_told_once(tmp_path, caplog, found, says):
    scan = small_scan()
    run, holder = make_run(tmp_path, scan), Holder(tmp_path, found)
    with LivePtycho(LAST, catalog=holder) as live:
        play(live, documents_in_order(run, scan))
        outcome = live.wait(120)
    assert outcome.progress.used == 64
    assert holder.asked == [(outcome.snapshot.geometry, run.start["time"])]
    (message,) = outcome.update.messages
    assert says in message and message.endswith(": the probe starts from the zone plate")
    assert caplog.text.count(message) == 1
    assert holder.stops[0]["ptychography"]["probe_uid"] is None


def test_nothing_is_asked_by_default(tmp_path):
    scan = small_scan(n_side=3)
    holder = Holder(tmp_path, "asked")
    with LivePtycho(LAST.replace(first_probe="plan"), catalog=holder) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        assert live.wait(120).update.messages == ()
    assert holder.asked == []
