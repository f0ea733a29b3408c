"""Darks in plans that know nothing of them: counts, list scans, ptychography scans in steps and in flight."""

from __future__ import annotations

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted
from ophyd import Signal

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.frames import Acquisition
from bluesky_ptycho.plans import DarkPreprocessor, ShutterDarks, dark_preprocessor, ptycho_fly_scan, ptycho_scan

from .recording import assert_stored_is_measured

FIELD = {"width": 0.3, "height": 0.2, "step": 0.1, "exposure": 0.005}


@pytest.fixture
def fccd(beamline):
    beamline.fccd.exposure_times.put([0.005])
    beamline.shutter.set("open").wait()
    return beamline.fccd


@pytest.fixture
def install(RE, fccd):
    def append(**arguments):
        preprocessor = DarkPreprocessor(detector=fccd, dark_plan=ShutterDarks(fccd.shutter, n_darks=3), **arguments)
        RE.preprocessors.append(preprocessor)
        return preprocessor

    return append


def streams(recorder):
    return {d["name"] for d in recorder.all("descriptor")}


def frames_by_shutter(recorder, seen, stream):
    """Return whether the shutter was open for each row of a stream, found by the frames themselves."""
    taken = {s.frame: s.is_open for s in seen}
    return [taken[frame.tobytes()] for frame in recorder.frames(stream)]


def test_a_count_gets_darks_in_its_own_run_and_its_frames_stay_apart(RE, recorder, seen, fccd, install):
    install()
    RE(bp.count([fccd], 4))
    assert recorder.stop["num_events"] == {"dark": 3, "primary": 4}
    assert frames_by_shutter(recorder, seen, "dark") == [False] * 3
    assert frames_by_shutter(recorder, seen, "primary") == [True] * 4
    assert [row["fccd_frame_index"] for row in recorder.rows("primary")] == [0, 1, 2, 3]
    assert fccd.shutter.is_open and "dark_uid" not in recorder.start


def test_the_next_run_names_the_darks_of_the_last(RE, recorder, seen, beamline, fccd, install):
    install()
    (first,) = RE(bp.count([fccd], 1))
    recorder.clear()
    RE(bp.list_scan([fccd], beamline.stage.x, [0.0, 0.1, 0.2]))
    assert recorder.start["dark_uid"] == first
    assert streams(recorder) == {"primary"}
    assert frames_by_shutter(recorder, seen, "primary") == [True] * 3


@pytest.mark.parametrize("change", ["exposure", "gain", "locked", "age"])
def test_what_changes_forces_new_darks(RE, recorder, fccd, install, change):
    energy = Signal(name="energy", value=800.0)
    preprocessor = install(locked_signals=[energy])
    RE(bp.count([fccd], 1))
    recorder.clear()
    if change == "exposure":
        fccd.exposure_times.put([0.006])
    elif change == "gain":
        fccd.adu_per_ev.put(0.008)
    elif change == "locked":
        energy.put(700.0)
    else:
        preprocessor.max_age = 0.0
    RE(bp.count([fccd], 1))
    assert streams(recorder) == {"dark", "primary"} and "dark_uid" not in recorder.start
    if change == "locked":
        recorder.clear()
        RE(bp.count([fccd], 1))
        assert streams(recorder) == {"primary"}
        recorder.clear()
        energy.put(800.0)
        RE(bp.count([fccd], 1))
        assert streams(recorder) == {"primary"}, "the first darks are young enough"


def test_several_exposures_have_darks_of_each(RE, recorder, seen, fccd, install):
    install()
    fccd.exposure_times.put([0.001, 0.005])
    RE(bp.count([fccd], 2))
    for stream, n in (("dark", 3), ("primary", 2)):
        assert len(recorder.frames(stream)) == 2 * n
    by_frame = {s.frame: s.exposure_s for s in seen}
    assert [by_frame[f.tobytes()] for f in recorder.frames("dark")] == [0.001, 0.005] * 3


@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
def test_ptychography_scans_have_no_double_darks(RE, recorder, seen, beamline, fccd, install, which):
    install()
    RE(which(fccd, beamline.stage.y, beamline.stage.x, **FIELD, darks=2))
    assert recorder.stop["num_events"] == {"dark": 2, "primary": 6}
    for stream in ("dark", "primary"):
        assert_stored_is_measured(recorder, seen, stream)
    recorder.clear()
    RE(which(fccd, beamline.stage.y, beamline.stage.x, **FIELD, darks=2))
    assert streams(recorder) == {"primary"} and recorder.plan.dark_uid


@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
def test_scans_without_darks_of_their_own_get_them(RE, recorder, seen, beamline, fccd, install, which):
    install()
    (first,) = RE(which(fccd, beamline.stage.y, beamline.stage.x, **FIELD, darks=0))
    assert recorder.stop["num_events"] == {"dark": 3, "primary": 6}
    assert frames_by_shutter(recorder, seen, "dark") == [False] * 3
    assert_stored_is_measured(recorder, seen, "primary")
    recorder.clear()
    RE(which(fccd, beamline.stage.y, beamline.stage.x, **FIELD, darks=0))
    assert streams(recorder) == {"primary"}
    assert recorder.plan.dark_uid == recorder.start["dark_uid"] == first
    assert_stored_is_measured(recorder, seen, "primary")


def test_darks_of_a_count_do_not_serve_a_scan_but_the_other_way_round(RE, recorder, beamline, fccd, install):
    install()
    RE(bp.count([fccd], 1))
    recorder.clear()
    (scan,) = RE(ptycho_scan(fccd, beamline.stage.y, beamline.stage.x, **FIELD, darks=0))
    assert streams(recorder) == {"dark", "primary"}
    recorder.clear()
    RE(bp.count([fccd], 1))
    assert recorder.start["dark_uid"] == scan


def test_plans_with_other_detectors_or_without_runs_are_left_alone(RE, recorder, seen, beamline, install):
    install()
    RE(bp.list_scan([beamline.stage.y], beamline.stage.x, [0.0, 0.1]))
    RE(bps.mv(beamline.stage.x, 0.0))
    assert streams(recorder) == {"primary"} and not seen


def test_a_run_of_other_devices_that_is_open_meanwhile_gets_no_darks(RE, recorder, fccd, install):
    install()

    def two_runs():
        yield from bpp.set_run_key_wrapper(bps.open_run(), "motors")
        yield from bpp.set_run_key_wrapper(bp.count([fccd], 1), "frames")
        yield from bpp.set_run_key_wrapper(bps.close_run(), "motors")

    _, frames = RE(two_runs())
    assert [(d["name"], d["run_start"]) for d in recorder.all("descriptor")] == [("dark", frames), ("primary", frames)]


def test_a_plan_hears_of_darks_that_fail_and_ends_its_run(RE, recorder, fccd):
    def broken(detector, exposures_s):
        yield from bps.null()
        raise RuntimeError("the shutter is stuck")

    RE.preprocessors.append(DarkPreprocessor(detector=fccd, dark_plan=broken))
    with pytest.raises(RuntimeError, match="the shutter is stuck"):
        RE(bp.count([fccd], 1))
    assert recorder.stop["exit_status"] == "fail"
    recorder.clear()
    with pytest.raises(RuntimeError, match="stuck"):
        RE(bp.count([fccd], 1))


def test_a_plan_that_tries_again_after_darks_that_failed_gets_them(RE, recorder, seen, fccd):
    inner, tries = ShutterDarks(fccd.shutter, n_darks=2), []

    def sticks_once(detector, exposures_s):
        tries.append(detector)
        if len(tries) == 1:
            raise RuntimeError("the shutter is stuck")
        yield from inner(detector, exposures_s)

    @bpp.stage_decorator([fccd])
    @bpp.run_decorator()
    def patient():
        try:
            yield from bps.trigger_and_read([fccd])
        except RuntimeError:
            yield from bps.trigger_and_read([fccd])

    RE.preprocessors.append(DarkPreprocessor(detector=fccd, dark_plan=sticks_once))
    RE(patient())
    assert len(tries) == 2
    assert recorder.stop["num_events"] == {"dark": 2, "primary": 1}
    assert frames_by_shutter(recorder, seen, "dark") == [False, False]


def test_what_was_prepared_before_the_run_is_prepared_again_after_the_darks(RE, recorder, fccd, install):
    @bpp.stage_decorator([fccd])
    def plan():
        yield from bps.prepare(fccd, Acquisition("survey", 2, (0.005,), None, "mine"), wait=True)
        yield from bps.open_run()
        for _ in range(2):
            yield from bps.trigger_and_read([fccd], name="survey")
        yield from bps.close_run()

    install()
    RE(plan())
    assert recorder.stop["num_events"] == {"dark": 3, "survey": 2}
    files = [doc["uri"] for doc in recorder.all("stream_resource")]
    assert sum("survey" in uri for uri in files) == 1 and not any("primary" in uri for uri in files)


def test_a_pause_in_the_darks_is_made_good(RE, recorder, seen, fccd):
    inner = ShutterDarks(fccd.shutter, n_darks=3)

    def interrupted(detector, exposures_s):
        yield from bps.checkpoint()
        yield from inner(detector, exposures_s)
        yield from bps.pause()

    RE.preprocessors.append(DarkPreprocessor(detector=fccd, dark_plan=interrupted))
    with pytest.raises(RunEngineInterrupted):
        RE(bp.count([fccd], 2))
    RE.resume()
    assert recorder.stop["num_events"] == {"dark": 3, "primary": 2}
    assert frames_by_shutter(recorder, seen, "primary") == [True, True]


def test_the_decorator_does_the_same(RE, recorder, fccd):
    @dark_preprocessor(detector=fccd, dark_plan=ShutterDarks(fccd.shutter, n_darks=2))
    def mine(n):
        return (yield from bp.count([fccd], n))

    (uid,) = RE(mine(2))
    assert recorder.start["uid"] == uid
    assert recorder.stop["num_events"] == {"dark": 2, "primary": 2}
    assert np.shape(recorder.frames("dark")) == (2, 32, 32)


def test_a_detector_without_a_shutter_needs_a_dark_plan(fccd):
    fccd.shutter = None
    with pytest.raises(SettingsError, match="fccd has no shutter"):
        DarkPreprocessor(detector=fccd)
