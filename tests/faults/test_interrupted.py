"""Rows 15 and 25: pause, stop, abort, halt and kill, again and again: nothing hangs, leaks, or stays open."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import signal
import subprocess
import sys
import threading
import time

import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from bluesky.utils import Msg, RunEngineInterrupted
from ophyd import Signal

from bluesky_ptycho import LivePtycho, ptycho_fly_scan, ptycho_scan
from bluesky_ptycho.devices import Shutter
from bluesky_ptycho.sim import make_beamline
from tests.conftest import REPOSITORY

from .load import resources
from .scene import SETTINGS, Results

FIELD = {"width": 0.3, "height": 0.3, "step": 0.1, "exposure": 0.005, "darks": 1, "max_dark_age": 0.0}
QUICK = SETTINGS.with_changes(passes=2, **{"solver.tail_passes": 0})


@pytest.fixture
def line(RE, tmp_path):
    with make_beamline(
        tmp_path, md=RE.md, camera="plain", shape=(32, 32), frame_rate=200.0, settle_time_s=0.0, progress=False
    ) as made:
        yield made


def interrupted(plan, when, message):
    """Insert `message` after the `when`-th message of a plan."""
    seen = itertools.count(1)

    def insert(msg):
        return (None, (m for m in [message])) if next(seen) == when else (None, None)

    return bpp.plan_mutator(plan, insert)


def end(RE, how):
    """End a paused scan; the RunEngine says that it was interrupted."""
    with contextlib.suppress(RunEngineInterrupted):
        getattr(RE, how)()


BOUND = "no deadlock; nothing leaked; the result says which"
CYCLES = [
    pytest.param(6, id="quick", marks=pytest.mark.fault("15a", "6 random pauses, stops, aborts, halts", bound=BOUND)),
    pytest.param(
        100,
        id="long",
        marks=[
            pytest.mark.slow,
            pytest.mark.timeout(900),
            pytest.mark.fault("15b", "100 random pauses, stops, aborts, halts", bound=BOUND),
        ],
    ),
]


@pytest.mark.parametrize("cycles", CYCLES)
def test_random_interruptions(cycles, RE, line, tmp_path, figure):
    rng, stops, wrong, counts, left = random.Random(5), {}, [], {}, []
    RE.subscribe(lambda name, doc: stops.__setitem__(doc["run_start"], doc["exit_status"]), "stop")
    results = Results(tmp_path)
    with LivePtycho(QUICK, catalog=results, strict=True) as live:
        RE.subscribe(live)
        for cycle in range(cycles):
            how = rng.choice(["resume", "stop", "abort", "halt"])
            which, when = rng.choice([ptycho_scan, ptycho_fly_scan]), rng.randint(20, 110)
            stops.clear()
            results.documents.clear()
            try:
                RE(interrupted(which(line.fccd, line.stage.y, line.stage.x, **FIELD), when, Msg("pause", None)))
            except RunEngineInterrupted:
                counts[how] = counts.get(how, 0) + 1
                end(RE, how)
            assert RE.state == "idle"
            for uid, status in stops.items():
                live.wait(240)
                ours = [doc for name, doc in results.documents if name == "stop"]
                if live.outcome(uid).update.exit_status not in (status, "fail") or len(ours) != 1:
                    wrong.append((cycle, how, status, live.outcome(uid).update.exit_status))
                if status == "abort" and ours[0]["exit_status"] not in ("abort", "fail"):
                    wrong.append((cycle, how, ours[0]["exit_status"]))
            assert not line.shutter.is_open
            if cycle >= 3:
                left.append(resources())
    first, last = left[0], left[-1]
    leaked = {name: last[name] - first[name] for name in first}
    figure(**{f"leaked_{name}": value for name, value in leaked.items()}, cycles=cycles, wrong_status=len(wrong))
    assert wrong == []
    assert sum(counts.values()) > cycles / 2 and len(counts) >= 3
    assert all(value <= 0 for value in leaked.values()), (first, last)


# -- the shutter ----------------------------------------------------------------------------------


@pytest.mark.fault("25a", "abort, stop, halt in mid-exposure with the shutter open", bound="shutter closed")
@pytest.mark.parametrize("which", [ptycho_scan, ptycho_fly_scan])
@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
def test_the_shutter_is_closed_when_a_scan_ends_in_mid_exposure(how, which, RE, line, figure):
    opened, take = [], line.physics.expose

    def expose(exposure_s, out):
        take(exposure_s, out)
        if line.shutter.is_open:
            opened.append(True)
            if len(opened) == 3:
                threading.Thread(target=lambda: with_patience(RE, how)).start()
            time.sleep(0.05)

    line.physics.expose = expose
    with contextlib.suppress(Exception):
        RE(which(line.fccd, line.stage.y, line.stage.x, **FIELD | {"width": 0.6, "height": 0.6}))
    deadline = time.monotonic() + 10
    while (RE.state != "idle" or line.shutter.is_open) and time.monotonic() < deadline:
        time.sleep(0.02)
    figure("closed" if not line.shutter.is_open else "open")
    assert 3 <= len(opened) < 36
    assert not line.shutter.is_open and not line.physics.is_open


def with_patience(RE, how):
    with contextlib.suppress(Exception):
        getattr(RE, how)()


KILLED = """
import os, sys, signal
from pathlib import Path
from bluesky import RunEngine
from bluesky_ptycho import ptycho_scan
from bluesky_ptycho.sim import make_beamline

hardware = Path(sys.argv[1])  # what outlives the process
engine = RunEngine({})
with make_beamline(hardware.parent, camera="plain", shape=(32, 32), frame_rate=100.0, progress=False) as line:
    move = line.physics.set_shutter
    line.physics.set_shutter = lambda is_open: (hardware.write_text("open" if is_open else "closed"), move(is_open))
    take, taken = line.physics.expose, []

    def expose(exposure_s, out):
        take(exposure_s, out)
        taken.append(line.shutter.is_open)
        if sum(taken) == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    line.physics.expose = expose
    engine(ptycho_scan(line.fccd, line.stage.y, line.stage.x, width=0.5, height=0.5, step=0.1, exposure=0.01, darks=1))
"""


@pytest.mark.fault("25b", "kill -9 with the shutter open", bound="the next session closes it before anything moves")
def test_a_killed_scan_leaves_a_shutter_that_the_next_session_closes_first(RE, tmp_path, figure):
    hardware = tmp_path / "hardware"
    done = subprocess.run([sys.executable, "-c", KILLED, str(hardware)], cwd=REPOSITORY, timeout=280, check=False)
    assert done.returncode == -signal.SIGKILL
    assert hardware.read_text() == "open", "no process can close anything after SIGKILL"

    class Beam:
        def set_shutter(self, is_open):
            hardware.write_text("open" if is_open else "closed")

    Shutter(Beam(), name="shutter")
    after_connecting = hardware.read_text()
    hardware.write_text("open")
    first = []
    with make_beamline(tmp_path, md=RE.md, camera="plain", shape=(32, 32), frame_rate=200.0, progress=False) as line:
        RE.msg_hook = lambda msg: first.append((msg.command, getattr(msg.obj, "name", None)))
        RE(ptycho_scan(line.fccd, line.stage.y, line.stage.x, **FIELD))
    moved = [step for step in first if step[0] in ("set", "trigger", "prepare", "kickoff")]
    figure(f"{after_connecting} on connecting; first action {moved[0][0]} {moved[0][1]}")
    assert after_connecting == "closed"
    assert moved[0] == ("set", "shutter")


# -- runs within runs, subscriptions ---------------------------------------------------------------


def test_subscribing_again_takes_each_scan_once(RE, line):
    told = []
    live = LivePtycho(QUICK, sinks=[lambda update: told.append(update.kind)])

    def measured():
        (uid,) = RE(ptycho_scan(line.fccd, line.stage.y, line.stage.x, **FIELD))
        live.wait(240)
        return live.outcome(uid)

    for _ in range(2):
        token = RE.subscribe(live)
        assert measured().progress.used == 9
        RE.unsubscribe(token)
    assert measured() is None
    # Each document arrives twice: the RunEngine itself takes the same callback once only.
    for callback in (live, functools.partial(live)):
        RE.subscribe(callback)
    assert measured().progress.used == 9
    assert (told.count("start"), told.count("final"), live.errors) == (3, 3, {})
    live.close()


def test_a_monitor_that_fires_from_its_own_thread_is_borne(RE, line):
    knob = Signal(name="knob", value=0)

    def turning():
        for value in range(30):
            knob.put(value)
            time.sleep(0.005)

    with LivePtycho(QUICK, strict=True) as live:
        RE.subscribe(live)
        thread = threading.Thread(target=turning)
        thread.start()
        RE(bpp.monitor_during_wrapper(ptycho_scan(line.fccd, line.stage.y, line.stage.x, **FIELD), [knob]))
        thread.join()
        assert live.wait(240).progress.used == 9


def test_two_run_engines_share_one_callback(RE, line, tmp_path):
    other = RunEngine({})
    (tmp_path / "other").mkdir()
    with (
        make_beamline(
            tmp_path / "other", md=other.md, camera="plain", shape=(32, 32), frame_rate=200.0, progress=False
        ) as second,
        LivePtycho(QUICK, strict=True) as live,
    ):
        uids = []
        RE.subscribe(live)
        other.subscribe(live)
        uids += RE(ptycho_scan(line.fccd, line.stage.y, line.stage.x, **FIELD))
        uids += other(ptycho_scan(second.fccd, second.stage.y, second.stage.x, **FIELD))
        live.wait(240)
        assert [live.outcome(uid).progress.used for uid in uids] == [9, 9]
    other.loop.call_soon_threadsafe(other.loop.stop)
    other._th.join()
    other.loop.close()
