"""The camera in step scans: documents, files, interruptions."""

import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky.utils import MsgGenerator, RunEngineInterrupted

from bluesky_ptycho.callbacks.document_keys import read_descriptor, read_points
from bluesky_ptycho.errors import PreflightError, SettingsError
from bluesky_ptycho.frames import Acquisition
from bluesky_ptycho.paths import ScanPaths
from bluesky_ptycho.scan_plan import Axis, ScanPlan
from bluesky_ptycho.sim import Beamline, make_beamline

from .conftest import POINTS, Documents, assert_consistent, read_frames

StepScan = Callable[..., MsgGenerator[None]]


def test_a_step_scan_gives_two_streams_with_a_file_each(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents
) -> None:
    RE(step_scan())
    for stream, n in (("dark", 2), ("primary", 12)):
        assert_consistent(documents, beamline, stream)
        assert [row["fccd_frame_index"] for row in documents.rows(stream)] == list(range(n))
        assert len(read_frames(documents.path(stream))) == n
    assert documents.path("dark") != documents.path("primary")
    assert read_frames(documents.path("dark")).sum() == 0
    assert (read_frames(documents.path("primary")).sum(axis=(1, 2)) > 1e5).all()
    found = np.array([[row["stage_y"], row["stage_x"]] for row in documents.rows()])
    assert np.abs(found - POINTS).max() < 0.02
    assert set(documents.rows("dark")[0]) == {"fccd_frame_index"}


def test_callbacks_understand_the_documents(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents
) -> None:
    RE(step_scan())
    plan = ScanPlan.from_positions(
        POINTS * 1e-6,
        energy_ev=800.0,
        distance_m=0.121,
        detector=beamline.fccd.info(),
        axes={"y": Axis("stage_y", "um"), "x": Axis("stage_x", "um")},
        exposures_s=(0.005,),
    )
    (descriptor,) = [d for d in documents.named("descriptor") if d["name"] == "primary"]
    stream = read_descriptor(descriptor, plan)
    assert stream is not None and stream.frames_per_event == 1 and stream.frame_shape == (32, 32)
    events = [d for d in documents.named("event") if d["descriptor"] == descriptor["uid"]]
    (point,) = read_points("event", events[5], stream, plan)
    assert point.row == 5
    assert point.position_m == pytest.approx(POINTS[5] * 1e-6, abs=20e-9)


def test_the_descriptor_holds_the_configuration_with_units(RE: Any, step_scan: StepScan, documents: Documents) -> None:
    RE(step_scan())
    descriptor = documents.named("descriptor")[-1]
    configuration = descriptor["configuration"]["fccd"]
    assert configuration["data"] == {
        "fccd_exposure_times": [0.005],
        "fccd_energy": 800.0,
        "fccd_distance": 0.121,
        "fccd_pixel_size": [120e-6, 120e-6],
        "fccd_adu_per_ev": 1 / 800,
        "fccd_layout": "plain",
    }
    units = {key: value.get("units") for key, value in configuration["data_keys"].items()}
    assert units["fccd_energy"] == "eV" and units["fccd_distance"] == "m" and units["fccd_exposure_times"] == "s"
    image = descriptor["data_keys"]["fccd_image"]
    assert image["external"] == "STREAM:" and image["dtype_numpy"] == "<u2" and image["shape"] == [32, 32]


def test_the_fccd_writes_raw_frames(RE: Any, tmp_path: Path, documents: Documents) -> None:
    with make_beamline(tmp_path, frame_rate=50, progress=False) as beamline:
        RE(bps.mv(beamline.shutter, "open"))
        # Any plan will do: without prepare the first trigger opens a file
        RE(bp.list_scan([beamline.fccd], beamline.stage.x, [0.0, 0.1, 0.2]))
    frames = read_frames(documents.path())
    assert frames.shape == (3, 1040, 1152) and frames.dtype == "<u2"
    assert (frames[:, :487] >> 14 == 3).all()
    (resource,) = documents.named("stream_resource")
    assert resource["parameters"] == {
        "dataset": "/entry/data/data",
        "chunk_shape": [1, 1040, 1152],
        "swmr": True,
        "locking": None,
    }
    with h5py.File(documents.path(), "r") as file:
        assert file["entry/data/data"].chunks == (1, 1040, 1152)


def test_two_exposures_make_two_rows_of_each_event(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents
) -> None:
    RE(step_scan(exposures_s=(0.002, 0.02)))
    assert_consistent(documents, beamline, per_event=2)
    assert [row["fccd_frame_index"] for row in documents.rows()] == list(range(0, 24, 2))
    keys = documents.named("descriptor")[-1]["data_keys"]
    assert keys["fccd_image"]["shape"] == [2, 32, 32]
    frames = read_frames(documents.path()).astype(float)
    assert (frames[1::2].sum(axis=(1, 2)) / frames[::2].sum(axis=(1, 2))) == pytest.approx(np.full(12, 10.0), rel=0.03)
    with h5py.File(documents.path(), "r") as file:
        assert file["entry/data/exposure_s"][:4].tolist() == [0.002, 0.02, 0.002, 0.02]


def test_another_process_follows_the_file_while_it_is_written(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents
) -> None:
    """Each document is true when it comes: the frames it tells of can be read elsewhere."""
    code = (
        "import h5py, sys\n"
        "with h5py.File(sys.argv[1], 'r', libver='latest', swmr=True) as f:\n"
        "    d = f['entry/data/data']\n"
        "    print(d.shape[0], int(d[-1].sum()))\n"
    )
    seen: list[tuple[int, list[str]]] = []

    def look(i: int) -> MsgGenerator[None]:
        yield from bps.null()
        if i in (3, 9):
            path = documents.path()
            done = subprocess.run([sys.executable, "-c", code, path], check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            seen.append((i, done.stdout.split()))

    RE(step_scan(look))
    frames = read_frames(documents.path())
    assert seen == [(i, [str(i), str(int(frames[i - 1].sum()))]) for i in (3, 9)]


def test_the_next_scan_gets_files_of_its_own(
    RE: Any, beamline: Beamline, step_scan: StepScan, documents: Documents
) -> None:
    RE(step_scan())
    first = documents.path()
    documents.all.clear()
    RE(step_scan())
    assert documents.path() != first
    assert documents.indices() == list(range(12))


def test_frames_come_at_the_frame_rate_at_most(RE: Any, beamline: Beamline, documents: Documents) -> None:
    fccd = beamline.fccd
    fccd.exposure_times.put([0.001])
    fccd.frame_rate = 50
    RE(bp.count([fccd], num=11))
    with h5py.File(documents.path(), "r") as file:
        intervals = np.diff(file["entry/data/timestamp"][:])
    assert np.median(intervals) > 0.019
    fccd.exposure_times.put([0.06])
    documents.all.clear()
    RE(bp.count([fccd], num=4))
    with h5py.File(documents.path(), "r") as file:
        assert np.diff(file["entry/data/timestamp"][:]).min() > 0.055


def test_frames_return_to_the_beat_after_a_late_one(beamline: Beamline) -> None:
    fccd = beamline.fccd
    fccd.frame_rate = 10.0

    def play(earliest: list[float]) -> list[float]:
        ends = []
        for soonest in earliest:
            fccd._frame_end = fccd._end_of_frame(soonest)
            ends.append(fccd._frame_end)
        return ends

    # On time, 70 ms late, twice as early as it can, then on the beat; after 5 s of rest the beat starts anew.
    ends = play([100.05, 100.15, 100.32, 100.37, 100.42, 105.5, 105.55])
    assert ends == pytest.approx([100.05, 100.15, 100.32, 100.37, 100.45, 105.5, 105.6])


def test_impossible_settings_are_refused(beamline: Beamline) -> None:
    for rate in (0.0, -1.0, 201.0, "fast", None):
        with pytest.raises(SettingsError, match="frame_rate is"):
            beamline.fccd.frame_rate = rate
    beamline.fccd.exposure_times.put([0.1, -0.1])
    with pytest.raises(SettingsError, match="exposure_times is"):
        beamline.fccd.trigger()


@pytest.mark.parametrize(("stream", "needed"), [(None, r"4096\.0"), ("primary", r"2048\.0")])
def test_a_full_disk_is_refused_before_anything_is_done(
    RE: Any, beamline: Beamline, monkeypatch: pytest.MonkeyPatch, stream: str | None, needed: str
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**12, 10**12, 10**8))
    acquisition = Acquisition(stream, 10**6, (0.005,), None)
    with pytest.raises(PreflightError, match=rf"needs {needed} MB in .*, where 100\.0 MB are free; free "):
        RE(bps.prepare(beamline.fccd, acquisition, wait=True))
    assert beamline.fccd._stream is None


def test_frames_rendered_ahead_are_played(RE: Any, beamline: Beamline, documents: Documents) -> None:
    acquisition = Acquisition(None, 12, (0.005,), POINTS)
    fccd, stage = beamline.fccd, beamline.stage
    rendered: list[Any] = []
    render = beamline.physics._render

    def spy(shot: Any, out: np.ndarray) -> None:
        rendered.append(shot)
        render(shot, out)

    def plan() -> MsgGenerator[None]:
        yield from bps.prepare(fccd, acquisition, wait=True)
        assert len(rendered) == 12
        yield from bps.mv(beamline.shutter, "open")
        yield from bp.list_scan([fccd], stage.y, list(POINTS[:, 0]), stage.x, list(POINTS[:, 1]))

    beamline.physics._render = spy  # type: ignore[method-assign]
    RE(plan())
    assert len(rendered) == 12
    assert len(read_frames(documents.path())) == 12


def test_a_rehearsal_can_be_stopped(RE: Any, tmp_path: Path) -> None:
    with make_beamline(tmp_path, progress=False) as beamline:
        acquisition = Acquisition(None, 2000, (0.1,), np.random.default_rng(0).uniform(-0.2, 0.2, (2000, 2)))
        status = beamline.fccd.prepare(acquisition)
        time.sleep(0.3)
        assert not status.done
        started = time.monotonic()
        beamline.fccd.stop()
        status.wait(60)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("exposures_s", [(0.005,), (0.002, 0.02)])
def test_the_catalog_gives_the_frames_of_the_file(
    RE: Any,
    beamline: Beamline,
    step_scan: StepScan,
    documents: Documents,
    catalog: Any,
    exposures_s: tuple[float, ...],
) -> None:
    """Also those that a pause in the middle of a point has made superfluous; none is shifted."""
    beamline.fccd.provider = ScanPaths(catalog.frames_dir, RE.md)
    paused: list[int] = []

    def interrupt(i: int) -> MsgGenerator[None]:
        if i == 4 and not paused:
            paused.append(1)
            yield from bps.trigger(beamline.fccd, wait=True)
            yield from bps.pause()

    token = RE.subscribe(catalog.raw_writer())
    with pytest.raises(RunEngineInterrupted):
        RE(step_scan(interrupt, exposures_s))
    RE.resume()
    RE.unsubscribe(token)
    n_exposures = len(exposures_s)
    frames = read_frames(documents.path())
    assert len(frames) == 14 * n_exposures  # the point was triggered three times
    stored = catalog[-1]["primary"]["fccd_image"].read()
    np.testing.assert_array_equal(stored.reshape(frames.shape), frames)
    np.testing.assert_array_equal(
        catalog[-1]["dark"]["fccd_image"].read().reshape(-1, 32, 32), read_frames(documents.path("dark"))
    )
    assert stored.shape == ((14, 32, 32) if n_exposures == 1 else (14, n_exposures, 32, 32))
    index = catalog[-1]["primary"]["fccd_frame_index"].read()
    assert list(index) == [row["fccd_frame_index"] for row in documents.rows()]
