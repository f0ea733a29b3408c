"""Pause, resume, suspension, abort, stop, halt and failures: files, shutter, stage and documents stay consistent."""

from __future__ import annotations

import threading
from itertools import count

import bluesky.preprocessors as bpp
import pytest
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import FailedStatus, Msg, RunEngineInterrupted
from ophyd import Signal

from bluesky_ptycho.plans import ptycho_fly_scan, ptycho_scan

from .recording import assert_stored_is_measured

FIELD = {"width": 0.2, "height": 0.2, "step": 0.1, "exposure": 0.005, "darks": 2}
START = (2.0, -3.0)


@pytest.fixture
def make(beamline):
    """Plan factory; the stage stands away from zero."""
    stage = beamline.stage
    stage.y.set(START[0]).wait()
    stage.x.set(START[1]).wait()

    def plan(which=ptycho_scan, **changes):
        return which(beamline.fccd, stage.y, stage.x, **FIELD | changes)

    return plan


@pytest.fixture
def at_rest(beamline):
    """Check that devices are as before the scan."""

    def check(stage_is_back=True):
        assert not beamline.shutter.is_open
        assert not beamline.physics.is_open
        assert beamline.fccd._stream is None
        assert beamline.fccd._staged.value == "no"
        assert not [t for t in threading.enumerate() if t.name.startswith("fccd")]
        if stage_is_back:
            assert (beamline.stage.y.locate()["setpoint"], beamline.stage.x.locate()["setpoint"]) == START

    return check


def interrupt(plan, command, when, message):
    """Insert `message` after the `when`-th message `command` of a plan."""
    seen = count(1)

    def insert(msg):
        if msg.command == command and next(seen) == when:
            return None, _single(message)
        return None, None

    return bpp.plan_mutator(plan, insert)


def _single(message):
    yield message


def run_paused(RE, plan):
    with pytest.raises(RunEngineInterrupted):
        RE(plan)
    assert RE.state == "paused"


PAUSE = Msg("pause", None, defer=False)


@pytest.mark.parametrize("command", ["trigger", "create", "read", "save", "set", "wait", "checkpoint"])
@pytest.mark.parametrize("when", [1, 2, 5, 6])
def test_pause_after_any_message_of_a_step_scan(RE, beamline, recorder, seen, make, at_rest, command, when):
    run_paused(RE, interrupt(make(), command, when, PAUSE))
    assert not beamline.shutter.is_open  # a paused scan spares the sample
    RE.resume()
    assert recorder.stop["exit_status"] == "success"
    assert_stored_is_measured(recorder, seen, "dark")
    assert_stored_is_measured(recorder, seen, "primary")
    at_rest()


@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_pause_while_preparing(RE, recorder, seen, make, at_rest, when):
    run_paused(RE, interrupt(make(), "prepare", when, PAUSE))
    RE.resume()
    assert_stored_is_measured(recorder, seen, "dark")
    assert_stored_is_measured(recorder, seen, "primary")
    at_rest()


@pytest.mark.parametrize("command", ["open_run", "close_run", "unstage"])
def test_pause_at_the_borders_of_the_run(RE, recorder, seen, make, at_rest, command):
    run_paused(RE, interrupt(make(), command, 1, PAUSE))
    RE.resume()
    assert_stored_is_measured(recorder, seen, "primary")
    at_rest()


def test_pause_in_the_middle_of_an_exposure(RE, beamline, recorder, seen, make, at_rest):
    beamline.fccd.frame_rate = 4.0

    def pause_soon(msg):
        if msg.command == "trigger" and msg.obj is beamline.fccd and len(seen) == 4:
            threading.Timer(0.05, RE.request_pause).start()

    RE.msg_hook = pause_soon
    run_paused(RE, make(exposure=0.2))
    RE.msg_hook = None
    n_before = len(recorder.all("event"))
    RE.resume()
    assert len(recorder.all("event")) == 6 and n_before == 4
    assert len(recorder.frames("primary")) == 5  # the frame of the interrupted point is there, no event names it
    assert_stored_is_measured(recorder, seen, "primary")
    at_rest()


@pytest.mark.parametrize(
    ("command", "when"),
    [
        ("declare_stream", 1),
        ("set", 4),
        ("kickoff", 1),
        ("complete", 1),
        ("collect", 1),
        ("collect", 2),
        ("sleep", 1),
        ("checkpoint", 8),
        ("checkpoint", 10),
    ],
)
def test_pause_in_a_fly_scan(RE, beamline, recorder, seen, make, at_rest, command, when):
    beamline.fccd.frame_rate = 40.0
    run_paused(RE, interrupt(make(ptycho_fly_scan, width=0.4, height=0.4), command, when, PAUSE))
    RE.resume()
    assert recorder.stop["exit_status"] == "success"
    assert_stored_is_measured(recorder, seen, "dark")
    assert_stored_is_measured(recorder, seen, "primary")
    at_rest()


def test_flight_holds_with_the_shutter_closed(RE, beamline, recorder, seen, make):
    beamline.fccd.frame_rate = 20.0
    run_paused(RE, interrupt(make(ptycho_fly_scan, width=0.4, height=0.4), "collect", 1, PAUSE))
    deadline = threading.Event()
    deadline.wait(0.15)  # the point in progress ends
    n_before = len(seen)
    deadline.wait(0.2)
    assert len(seen) == n_before < 18 and not beamline.shutter.is_open
    RE.resume()
    assert len(seen) == 18


@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
def test_suspender(RE, beamline, recorder, seen, make, at_rest, which):
    beam_lost = Signal(name="beam_lost", value=0)
    RE.install_suspender(SuspendBoolHigh(beam_lost, sleep=0))
    beamline.fccd.frame_rate = 20.0
    stopped_for = []

    def lose_beam(name, doc):
        if name in ("event", "event_page") and not stopped_for and len(seen) > 3:
            stopped_for.append(len(seen))
            beam_lost.put(1)
            threading.Timer(0.3, beam_lost.put, (0,)).start()

    RE.subscribe(lose_beam)
    RE(make(which, width=0.4, height=0.4))
    assert stopped_for
    assert recorder.stop["exit_status"] == "success"
    assert_stored_is_measured(recorder, seen, "primary")
    at_rest()


def in_the_middle(which):
    """Return where to interrupt a scan of 16 points so that some are taken and some are not."""
    return ("read", 14) if which is ptycho_scan else ("sleep", 1)


LARGE = {"width": 0.4, "height": 0.4}


@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
@pytest.mark.parametrize(("how", "status"), [("abort", "abort"), ("stop", "success")])
def test_abort_and_stop_from_a_pause(RE, beamline, recorder, seen, make, at_rest, which, how, status):
    beamline.fccd.frame_rate = 20.0
    run_paused(RE, interrupt(make(which, **LARGE), *in_the_middle(which), PAUSE))
    getattr(RE, how)()
    assert recorder.stop["exit_status"] == status
    n = len(recorder.rows("primary"))
    assert 0 < n < 16
    assert_stored_is_measured(recorder, seen, "primary", n)
    assert len(recorder.frames("primary")) == n
    at_rest()


def test_frames_in_flight_are_kept_on_abort(RE, beamline, recorder, seen, make):
    beamline.fccd.frame_rate = 20.0
    run_paused(RE, interrupt(make(ptycho_fly_scan, **LARGE), *in_the_middle(ptycho_fly_scan), PAUSE))
    RE.abort()
    assert len(recorder.rows("primary")) == len([s for s in seen if s.is_open])


@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
def test_halt_leaves_the_shutter_closed(RE, beamline, recorder, seen, make, at_rest, which):
    beamline.fccd.frame_rate = 20.0
    command, when = ("read", 14) if which is ptycho_scan else ("checkpoint", 10)
    run_paused(RE, interrupt(make(which, **LARGE), command, when, PAUSE))
    RE.halt()
    assert recorder.stop["exit_status"] == "abort"
    n = len(recorder.rows("primary"))
    assert 0 < n < 16
    assert_stored_is_measured(recorder, seen, "primary", n)
    at_rest(stage_is_back=False)


@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_failing_camera(RE, beamline, recorder, seen, make, at_rest, which, after, monkeypatch):
    take = beamline.physics.expose

    def fail(exposure_s, out):
        if len(seen) >= after:
            raise OSError("camera lost its link")
        take(exposure_s, out)

    monkeypatch.setattr(beamline.physics, "expose", fail)
    with pytest.raises((FailedStatus, OSError)):
        RE(make(which))
    assert recorder.stop["exit_status"] == "fail"
    at_rest()


def test_a_shutter_that_fails_to_close_does_not_keep_the_stage_away(RE, beamline, recorder, make, monkeypatch):
    move = beamline.shutter.set

    def stick(value):
        if value == "closed" and beamline.shutter.is_open:
            raise RuntimeError("shutter is stuck")
        return move(value)

    monkeypatch.setattr(beamline.shutter, "set", stick)
    with pytest.raises(RuntimeError, match="stuck"):
        RE(make())
    assert (beamline.stage.y.locate()["setpoint"], beamline.stage.x.locate()["setpoint"]) == START
    assert beamline.fccd._staged.value == "no"
    monkeypatch.undo()


def test_the_next_scan_works_after_an_abort(RE, recorder, seen, make, at_rest):
    run_paused(RE, interrupt(make(), "read", 8, PAUSE))
    RE.abort()
    recorder.clear()
    RE(make())
    assert recorder.plan.dark_uid is not None  # the darks of the aborted run are complete
    assert_stored_is_measured(recorder, seen, "primary")
    at_rest()


def test_darks_cut_short_are_not_remembered(RE, recorder, make):
    run_paused(RE, interrupt(make(), "trigger", 2, PAUSE))
    RE.abort()
    recorder.clear()
    RE(make())
    assert recorder.plan.dark_uid is None
