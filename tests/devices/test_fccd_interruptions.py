"""What the FCCD has stored after pauses, errors and ends by force."""

import time
from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky.utils import MsgGenerator, RunEngineInterrupted

from bluesky_ptycho.frames import Acquisition
from bluesky_ptycho.sim import Beamline

from .conftest import POINTS, Documents, assert_consistent, read_frames

StepScan = Callable[..., MsgGenerator[None]]


@pytest.mark.parametrize("where", ["before", "during", "between", "after"])
@pytest.mark.parametrize("point", [0, 7])
def test_what_is_stored_is_what_was_measured_after_a_pause(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents, where: str, point: int
) -> None:
    """A pause rewinds to the last checkpoint: wherever it comes, files and documents agree."""
    paused: list[int] = []

    def interrupt(i: int) -> MsgGenerator[None]:
        """Measure the point by hand and pause somewhere in it."""
        if i != point:
            return
        fccd, stage = beamline.fccd, beamline.stage
        yield from pause("before")
        yield from bps.trigger(fccd, group="a")
        yield from pause("during")
        yield from bps.wait("a")
        yield from bps.create()
        for device in (fccd, stage.y, stage.x):
            yield from bps.read(device)
        yield from pause("between")
        yield from bps.save()
        yield from pause("after")
        yield from bps.checkpoint()

    def pause(here: str) -> MsgGenerator[None]:
        if here == where and not paused:
            paused.append(1)
            yield from bps.pause()
        else:
            yield from bps.null()

    with pytest.raises(RunEngineInterrupted):
        RE(step_scan(interrupt))
    RE.resume()
    assert_consistent(documents, beamline)
    # One point is measured twice on purpose (by hand and by the scan): 13 events
    rows = documents.rows()
    assert len(rows) == 13
    frames = read_frames(documents.path())
    assert len(frames) == (13 if where == "before" else 14)
    found = np.array([[row["stage_y"], row["stage_x"]] for row in rows])
    expected = np.insert(POINTS, point, POINTS[point], axis=0)
    assert np.abs(found - expected).max() < 0.02
    # Brightness depends on where the beam was: each event's own frame has been taken at its place
    clean = beamline.clean_patterns(found * 1e-6).sum(axis=(1, 2))
    measured = frames[[row["fccd_frame_index"] for row in rows]].sum(axis=(1, 2))
    assert measured == pytest.approx(clean, rel=0.01)


@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
@pytest.mark.parametrize("mid_point", [False, True])
def test_what_is_stored_is_what_was_measured_after_an_end_by_force(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents, how: str, mid_point: bool
) -> None:
    def interrupt(i: int) -> MsgGenerator[None]:
        if i == 5:
            if mid_point:
                yield from bps.trigger(beamline.fccd, wait=True)
            yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        RE(step_scan(interrupt))
    getattr(RE, how)()
    assert_consistent(documents, beamline)
    assert len(documents.rows()) == 5
    assert len(read_frames(documents.path())) == 5


def test_an_error_in_the_middle_of_an_exposure_leaves_a_good_file(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents
) -> None:
    class Broken(Exception):
        pass

    def fail(i: int) -> MsgGenerator[None]:
        yield from bps.null()
        if i == 4:
            beamline.fccd.exposure_times.put([30.0])
            yield from bps.trigger(beamline.fccd, group="long")
            yield from bps.sleep(0.05)
            raise Broken

    started = time.monotonic()
    with pytest.raises(Broken):
        RE(step_scan(fail))
    assert time.monotonic() - started < 20  # the exposure was cut short
    assert_consistent(documents, beamline)
    assert len(read_frames(documents.path())) == 4


def test_a_rewind_across_prepare_does_not_split_the_stream(RE: Any, beamline: Beamline, documents: Documents) -> None:
    acquisition = Acquisition("primary", 2, (0.005,))

    def plan() -> MsgGenerator[None]:
        yield from bps.stage(beamline.fccd)
        yield from bps.open_run()
        yield from bps.checkpoint()
        yield from bps.prepare(beamline.fccd, acquisition, wait=True)
        yield from bps.trigger_and_read([beamline.fccd])
        if not resumed:
            resumed.append(1)
            yield from bps.pause()
        yield from bps.checkpoint()
        yield from bps.trigger_and_read([beamline.fccd])
        yield from bps.close_run()
        yield from bps.unstage(beamline.fccd)

    resumed: list[int] = []
    with pytest.raises(RunEngineInterrupted):
        RE(plan())
    RE.resume()
    assert len(documents.named("stream_resource")) == 1
    assert_consistent(documents, beamline)
    assert [row["fccd_frame_index"] for row in documents.rows()] == [1, 2]
