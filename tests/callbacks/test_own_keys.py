"""A detector and a plan that know nothing of this package, attached by the names of their data keys."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from event_model import compose_run

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.callbacks.found_plan import INDEX_KEY
from bluesky_ptycho.callbacks.own_keys import NO_ROW, translator
from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.recon.comparing import compare
from bluesky_ptycho.replay import replay

from .compose import ComposedRun, small_plan
from .live_scan import documents_in_order, make_run, play
from .own_run import FACTS, KEYS, NO_ZONE_PLATE, OwnRun

SETTINGS = LiveSettings(frc=False, passes=40)  # so many that it does not matter when frames came


@pytest.fixture(scope="module")
def as_ours(scan, tmp_path_factory):
    """What a scan with a plan of ours, which knows of no zone plate either, gives of the same frames."""
    plan = small_plan(scan[0], shape=(64, 64), trajectory="list")
    run = ComposedRun(plan, tmp_path_factory.mktemp("ours") / "frames.h5", scan[1])
    with LivePtycho(SETTINGS) as live, NO_ZONE_PLATE():
        play(live, documents_in_order(run, scan))
        return live.wait(120).snapshot


@pytest.mark.parametrize(("late", "told"), [(False, True), (True, True), (False, False)])
def test_the_same_object_as_with_a_plan_of_ours(tmp_path, scan, as_ours, late, told):
    run = OwnRun(tmp_path / "eiger.h5", scan, told=told)
    with LivePtycho(SETTINGS, **KEYS, **FACTS, strict=True) as live, NO_ZONE_PLATE():
        documents = list(run.documents(late=late))
        play(live, documents[:-20])
        assert (live.progress() is not None) == told, "without a field it begins when the run is over"
        play(live, documents[-20:])
        outcome = live.wait(120)
    assert outcome.progress.used == outcome.progress.planned == 64
    assert outcome.raw_uid == run.bundle.start_doc["uid"]
    plan = outcome.update.plan
    assert (plan.energy_ev, plan.distance_m) == pytest.approx((800, 0.121)) and plan.detector.name == "eiger"
    np.testing.assert_allclose(outcome.snapshot.positions_m, as_ours.positions_m, atol=1e-12)
    assert compare(as_ours, outcome.snapshot).difference < 0.02


def test_a_point_whose_frame_is_never_told_of_is_listed(tmp_path, scan):
    run = OwnRun(tmp_path / "eiger.h5", scan)
    documents = [d for d in run.documents() if not (d[0] == "stream_datum" and d[1]["indices"]["start"] == 63)]
    with LivePtycho(SETTINGS.with_changes(passes=2, patience_s=0.1), **KEYS, **FACTS) as live, NO_ZONE_PLATE():
        play(live, documents)
        outcome = live.wait(240)
    assert (outcome.progress.taken, outcome.progress.used, outcome.update.missing) == (64, 63, (64,))


@pytest.mark.slow
def test_in_a_process_of_its_own_it_is_the_same(tmp_path, scan, as_ours):
    with LivePtycho(SETTINGS, **KEYS, **FACTS, process=True, strict=True) as live:
        play(live, OwnRun(tmp_path / "eiger.h5", scan).documents())
        outcome = live.wait(240)
    assert outcome.progress.used == outcome.progress.planned == 64
    assert compare(as_ours, outcome.snapshot).difference < 0.02


def test_a_stored_run_replays_by_its_keys(tmp_path, scan, catalog):
    catalog.frames_dir.mkdir(parents=True, exist_ok=True)
    run, writer = OwnRun(catalog.frames_dir / "eiger.h5", scan), catalog.raw_writer()
    for name, doc in run.documents():
        writer(name, doc)
    settings = SETTINGS.with_changes(passes=2)
    with LivePtycho(settings, catalog=catalog, **KEYS, **FACTS, strict=True) as live, NO_ZONE_PLATE():
        uid = replay(-1, catalog, live)
        outcome = live.wait(120)
    assert outcome.progress.used == 64
    assert catalog[outcome.result_uid].start["raw_uid"] == uid


@pytest.mark.parametrize("late", [False, True])
def test_a_frame_taken_again_takes_the_place_of_the_first(tmp_path, scan, late):
    documents = list(OwnRun(tmp_path / "eiger.h5", scan).documents())
    datum, event = next((a, b) for a, b in itertools.pairwise(documents) if (a[0], b[0]) == ("stream_datum", "event"))
    datum_again = ("stream_datum", {**datum[1], "uid": "again", "indices": {"start": 7, "stop": 8}})
    event_again = ("event", {**event[1], "uid": "again", "data": {**event[1]["data"], "sx_readback": 9.0}})
    again = [event_again, datum_again] if late else [datum_again, event_again]
    told = translator(**KEYS, facts=FACTS)
    given = [d for name, doc in [*documents[:-1], event, *again, event_again, datum_again] for d in told(name, doc)]
    points = [doc["data"] for name, doc in given if name == "event" and doc["seq_num"] == 1]
    pairs = {(data["sx_readback"], data[INDEX_KEY]) for data in points}
    # An event that has come again waits for its row: never has the old frame the new position.
    assert pairs == {(event[1]["data"]["sx_readback"], 0), (9.0, 7)} | ({(9.0, NO_ROW)} if late else set())
    assert (points[0][INDEX_KEY], points[-1][INDEX_KEY]) == (0, 7)


def test_runs_of_ours_and_runs_without_frames_are_as_ever(tmp_path, scan):
    with LivePtycho(SETTINGS.with_changes(passes=2), **KEYS, **FACTS, strict=True) as live:
        play(live, documents_in_order(make_run(tmp_path, scan), scan))
        assert live.wait(240).progress.used == 64
        other = compose_run()
        stream = other.compose_descriptor(
            name="primary", data_keys={"x": {"source": "", "dtype": "number", "shape": []}}
        )
        play(live, [("start", other.start_doc), ("descriptor", stream.descriptor_doc), ("stop", other.compose_stop())])
        assert len(live._outcomes) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"energy": "nowhere"},
            r"energy is unknown: no 'nowhere' in configuration, events or start document; expected",
        ),
        ({"distance": "mono_energy"}, r"units of distance \(mono_energy\) are 'keV'; expected one of m, mm"),
        ({"energy": "eiger_z"}, r"units of energy \(eiger_z\) are 'mm'; expected one of eV, keV, J"),
        ({"position_keys": ("sy", "sx_readback")}, r"stream 'primary' has no data key 'sy'; it has eiger_image"),
        ({"energy": "plan_name"}, r"energy: plan_name is 'grid_scan'; expected a number"),
    ],
)
def test_what_documents_do_not_tell_is_said_once(tmp_path, scan, caplog, changes, says):
    with LivePtycho(SETTINGS, **{**KEYS, **FACTS, **changes}) as live:
        play(live, OwnRun(tmp_path / "eiger.h5", scan).documents())
        assert live.result is None
        (error,) = live.errors.values()
    assert error.args[0].startswith("scan 5 is not reconstructed: ")
    assert re.search(says, str(error))
    assert len([r for r in caplog.records if "not reconstructed" in r.getMessage()]) == 1


def test_positions_without_a_unit_are_refused(tmp_path, scan):
    with LivePtycho(SETTINGS, **KEYS, **FACTS) as live:
        play(live, OwnRun(tmp_path / "eiger.h5", scan, units="steps").documents())
        (error,) = live.errors.values()
    assert "units of sy_readback are 'steps'; expected one of m, mm" in str(error)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"frames_key": "a"}, "one of frames_key and position_keys is missing"),
        ({**KEYS, "frame_key": "a"}, r"LivePtycho has no argument 'frame_key'; did you mean frames_key\?$"),
        ({"colour": 1}, "LivePtycho has no argument 'colour'; known: settings, catalog, .*, frames_key, "),
        ({**KEYS, "position_keys": "xy"}, r"position_keys is 'xy'; expected two data keys, \(y, x\)"),
        ({**KEYS, "dark_stream": None}, "dark_stream is None; expected the name of a stream"),
        ({"dark_stream": "background"}, "one of frames_key and position_keys is missing"),
        ({**KEYS, "energy": -1}, "energy is -1; expected a positive number or a key"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, says):
    with pytest.raises(SettingsError, match=says):
        LivePtycho(**arguments)
