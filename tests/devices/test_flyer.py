"""Fly scans: chunks while flying, interruptions, pace."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus, MsgGenerator, RunEngineInterrupted
from ophyd.utils import LimitError

from bluesky_ptycho.errors import PreflightError
from bluesky_ptycho.frames import Acquisition
from bluesky_ptycho.sim import Beamline, make_beamline

from .conftest import Documents, read_frames

N = 60
ROUTE = np.stack([np.repeat(np.arange(6) * 0.1, 10), np.tile(np.arange(10) * 0.05, 6)], axis=1)


def fly(
    beamline: Beamline,
    exposures_s: tuple[float, ...] = (0.005,),
    after_chunk: Callable[[Any], MsgGenerator[None]] | None = None,
) -> MsgGenerator[None]:
    """A fly scan over ROUTE that collects every 50 ms."""
    fccd = beamline.fccd
    flyer = fccd.flyer(beamline.stage.y, beamline.stage.x)

    def inner() -> MsgGenerator[None]:
        yield from bps.prepare(fccd, Acquisition(None, N, exposures_s, ROUTE), wait=True)
        yield from bps.open_run()
        yield from bps.prepare(flyer, Acquisition("primary", N, exposures_s, ROUTE), wait=True)
        yield from bps.declare_stream(flyer, name="primary", collect=True)
        yield from bps.mv(beamline.shutter, "open")
        yield from bps.checkpoint()
        yield from bps.kickoff(flyer, wait=True)
        status = yield from bps.complete(flyer, wait=False)
        done = False
        while not done:
            done = status.done
            yield from bps.checkpoint()
            yield from bps.collect(flyer, name="primary")
            if after_chunk is not None:
                yield from after_chunk(flyer)
            yield from bps.sleep(0.05)
        if status.exception():
            raise status.exception()
        yield from bps.close_run()

    yield from bpp.stage_wrapper(inner(), [fccd])


def positions(documents: Documents) -> np.ndarray:
    return np.array([[row["stage_y"], row["stage_x"]] for row in documents.rows()])


def assert_consistent(documents: Documents, beamline: Beamline) -> int:
    """Rows, announcements and positions tell of the same frames; return how many."""
    frames = read_frames(documents.path())
    assert documents.indices() == list(range(len(frames)))
    assert [row["fccd_frame_index"] for row in documents.rows()] == list(range(len(frames)))
    found = positions(documents)
    assert np.abs(found - ROUTE[: len(found)]).max() < 0.02
    expected = beamline.clean_patterns(found * 1e-6).sum(axis=(1, 2))
    assert frames.sum(axis=(1, 2)) == pytest.approx(expected, rel=0.015)
    assert beamline.fccd._stream is None
    assert not [t for t in threading.enumerate() if t.name.startswith("fccd")]
    return len(frames)


def test_frames_and_positions_come_in_equal_chunks_while_flying(
    RE: Any, beamline: Beamline, documents: Documents
) -> None:
    taken: list[int] = []

    def note(flyer: Any) -> MsgGenerator[None]:
        taken.append(len(flyer._rows))
        yield from bps.null()

    RE(fly(beamline, after_chunk=note))
    assert assert_consistent(documents, beamline) == N
    pages, data = documents.named("event_page"), documents.named("stream_datum")
    assert len(documents.named("stream_resource")) == 1
    assert 1 < len(pages) == len(data)
    for page, datum in zip(pages, data, strict=True):
        assert datum["seq_nums"] == {"start": page["seq_num"][0], "stop": page["seq_num"][-1] + 1}
        assert page["data"]["fccd_frame_index"] == list(range(datum["indices"]["start"], datum["indices"]["stop"]))
    assert any(0 < n < N for n in taken)  # documents came before the flight was over


def test_the_descriptor_is_that_of_a_step_scan(RE: Any, beamline: Beamline, documents: Documents) -> None:
    RE(fly(beamline))
    (descriptor,) = documents.named("descriptor")
    assert set(descriptor["data_keys"]) == {"fccd_frame_index", "fccd_image", "stage_y", "stage_x"}
    assert descriptor["data_keys"]["stage_y"]["units"] == "um"
    assert descriptor["configuration"]["fccd"]["data"]["fccd_energy"] == 800.0


def test_two_exposures_can_be_flown(RE: Any, beamline: Beamline, documents: Documents) -> None:
    RE(fly(beamline, exposures_s=(0.002, 0.005)))
    assert [row["fccd_frame_index"] for row in documents.rows()] == list(range(0, 2 * N, 2))
    assert documents.indices() == list(range(N))
    assert len(read_frames(documents.path())) == 2 * N


def test_a_pause_holds_the_flight_and_nothing_is_taken_twice(RE: Any, beamline: Beamline, documents: Documents) -> None:
    chunks: list[int] = []

    def interrupt(flyer: Any) -> MsgGenerator[None]:
        chunks.append(len(flyer._rows))
        if len(chunks) == 2:
            yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        RE(fly(beamline, after_chunk=interrupt))
    time.sleep(0.1)  # the point in progress ends
    flyer = beamline.fccd._flyer
    assert flyer is not None
    held = len(flyer._rows)
    time.sleep(0.2)
    assert len(flyer._rows) == held < N
    assert not beamline.shutter.is_open  # the sample is spared
    RE.resume()
    assert assert_consistent(documents, beamline) == N


@pytest.mark.parametrize("how", ["abort", "stop", "halt"])
def test_an_end_by_force_keeps_what_was_collected(RE: Any, beamline: Beamline, documents: Documents, how: str) -> None:
    beamline.fccd.frame_rate = 40.0  # slow machines meet it in the middle too

    def interrupt(flyer: Any) -> MsgGenerator[None]:
        if len(flyer._rows) > 20:
            yield from bps.pause()

    with pytest.raises(RunEngineInterrupted):
        RE(fly(beamline, after_chunk=interrupt))
    getattr(RE, how)()
    assert 0 < assert_consistent(documents, beamline) < N


def test_a_flight_can_be_stopped(RE: Any, beamline: Beamline, documents: Documents) -> None:
    def stop(flyer: Any) -> MsgGenerator[None]:
        yield from bps.null()
        if len(flyer._rows) > 10:
            flyer.stop()

    RE(fly(beamline, after_chunk=stop))
    assert 10 < assert_consistent(documents, beamline) < N


def test_an_error_in_flight_reaches_the_plan(RE: Any, beamline: Beamline, documents: Documents) -> None:
    expose, count = beamline.physics.expose, [0]

    def fail(exposure_s: float, out: np.ndarray) -> None:
        count[0] += 1
        if count[0] == 25:
            raise OSError("the frame grabber has lost its link")
        expose(exposure_s, out)

    beamline.physics.expose = fail  # type: ignore[method-assign]
    with pytest.raises(FailedStatus) as failure:
        RE(fly(beamline))
    assert "frame grabber" in str(failure.value.__cause__)
    assert assert_consistent(documents, beamline) <= 24


def test_routes_that_cannot_be_flown_are_refused(beamline: Beamline) -> None:
    flyer = beamline.fccd.flyer(beamline.stage.y, beamline.stage.x)
    with pytest.raises(PreflightError, match=r"positions have shape \(60, 2\); expected \(50, 2\)"):
        flyer.prepare(Acquisition("primary", 50, (0.005,), ROUTE))
    with pytest.raises(PreflightError, match="positions have shape None"):
        flyer.prepare(Acquisition("primary", 50, (0.005,)))
    with pytest.raises(LimitError, match="stage_x was set to 1000"):
        flyer.prepare(Acquisition("primary", 1, (0.005,), np.array([[0.0, 1000.0]])))
    with pytest.raises(PreflightError, match="without prepare"):
        flyer.kickoff()


def test_rows_without_frames_are_never_announced(beamline: Beamline) -> None:
    """bluesky does not compare the lengths of asset documents and pages, so the flyer does."""
    flyer = beamline.fccd.flyer(beamline.stage.y, beamline.stage.x)
    flyer.prepare(Acquisition("primary", N, (0.005,), ROUTE)).wait(60)
    flyer.kickoff()
    flyer.complete().wait(60)
    flyer._rows.append((N, 0.0, 0.0, 0.0))
    list(beamline.fccd.collect_asset_docs())  # somebody else takes the documents away
    with pytest.raises(RuntimeError, match="frames are announced for"):
        list(flyer.collect_asset_docs())


def test_a_flight_keeps_the_frame_rate(RE: Any, beamline: Beamline, documents: Documents) -> None:
    started = time.time()
    RE(fly(beamline))
    assert time.time() - started > 0.005 * N
    with h5py.File(documents.path(), "r") as file:
        times = file["entry/data/timestamp"][:]
    assert np.diff(times) == pytest.approx(np.full(N - 1, 0.005), abs=1e-4)


@pytest.mark.slow
def test_the_fccd_flies_at_its_top_rate(RE: Any, tmp_path: Path, documents: Documents) -> None:
    """200 raw frames of 2.4 MB each second, stored as they come."""
    with make_beamline(tmp_path, frame_rate=200) as beamline:
        RE(fly(beamline))
        assert beamline.fccd.exposures_s == (0.005,)
    with h5py.File(documents.path(), "r") as file:
        times = file["entry/data/timestamp"][:]
        assert file["entry/data/data"].shape == (N, 1040, 1152)
    assert (N - 1) / (times[-1] - times[0]) == pytest.approx(200, rel=0.01)
