"""Other people's workers give what the threads give, and get the darks once."""

import multiprocessing
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError, SettingsError
from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline, workers

from .camera import make_plan

SETTINGS = {name: PreprocessSettings(preset=name, threads=2) for name in ("cosmic", "nanosurveyor")}


@pytest.fixture(scope="module")
def frames(camera):
    y, x = np.mgrid[:960, :960]
    levels = np.linspace(50, 400, 8)
    raw = np.stack([camera.frame(n * np.exp(-((y - 500.0) ** 2 + (x - 440.0) ** 2) / 60**2)) for n in levels])[:, None]
    raw[5, 0, 40:43, 100:900] |= 0x2000
    return raw


@pytest.fixture(scope="module")
def processes():
    """Two processes that know nothing of this one, as they would elsewhere."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture
def small_chunks(monkeypatch):
    """Two scan points of one exposure at a time."""
    monkeypatch.setattr(workers, "CHUNK_BYTES", 2 * 1040 * 1152 * 2)


def same(one, other):
    np.testing.assert_array_equal(one.photons, other.photons)
    np.testing.assert_array_equal(one.mask, other.mask)
    assert one.rejected == other.rejected
    assert one.dark_corrected == other.dark_corrected


class LastFirst(Executor):
    """Does nothing until it is asked for the first result, and then the newest first; notes what it was sent."""

    def __init__(self):
        self.setups = []
        self._todo = []

    def submit(self, fn, /, *args):
        self.setups.append(args[1])
        future = Waited(self._work)
        self._todo.append((future, fn, args))
        return future

    def _work(self):
        while self._todo:
            future, fn, args = self._todo.pop()
            future.set_result(fn(*args))


class Waited(Future):
    def __init__(self, work):
        super().__init__()
        self._work = work

    def result(self, timeout=None):
        self._work()
        return super().result(timeout)


@pytest.mark.parametrize("preset", ["cosmic", "nanosurveyor"])
def test_processes_give_what_threads_give(preset, frames, dark, small_chunks, processes):
    with make_pipeline(make_plan(), SETTINGS[preset]) as threads:
        expected = threads(frames, (dark,))
    with make_pipeline(make_plan(), SETTINGS[preset], executor=processes) as pipeline:
        pipeline.warm_up()
        for rows in (slice(0, 8), slice(3, 5)):
            clean = pipeline(frames[rows], (dark,))
            np.testing.assert_array_equal(clean.photons, expected.photons[rows])
            np.testing.assert_array_equal(clean.mask, expected.mask[rows])
        same(pipeline(frames, None), make_pipeline(make_plan(), SETTINGS[preset])(frames, None))


def test_results_stand_in_the_order_of_the_frames_and_darks_travel_once(frames, dark, small_chunks, camera):
    expected = make_pipeline(make_plan(), SETTINGS["cosmic"])(frames, (dark,))
    executor = LastFirst()
    pipeline = make_pipeline(make_plan(), SETTINGS["cosmic"], executor=executor)
    same(pipeline(frames, (dark,)), expected)
    same(pipeline(frames, (dark,)), expected)
    # The first round finds a worker that knows nothing: all four chunks come again, with darks. Then no more.
    assert [setup is not None for setup in executor.setups] == [False] * 4 + [True] * 4 + [False] * 4
    pipeline(frames[:1], (camera.darks(6),))
    assert [setup is not None for setup in executor.setups[12:]] == [False, True]


def test_a_given_executor_is_used_and_left_running(frames, dark):
    with ThreadPoolExecutor(2, thread_name_prefix="given") as pool:
        with make_pipeline(make_plan(), SETTINGS["cosmic"], executor=pool) as pipeline:
            before = {t.name for t in threading.enumerate()}
            pipeline(frames[:3], (dark,))
            new = {t.name for t in threading.enumerate()} - before
        assert new
        assert all(name.startswith("given") for name in new)
        assert pool.submit(lambda: 7).result() == 7


def test_several_exposures_and_plain_frames_go_the_same_way(frames, dark):
    rng = np.random.default_rng(1)
    counts = rng.poisson(3, (5, 1, 32, 48)).astype(np.uint16)
    plan = make_plan("plain", shape=(32, 48))
    with ThreadPoolExecutor(2) as pool:
        same(make_pipeline(plan, executor=pool)(counts), make_pipeline(plan)(counts))
        assert make_pipeline(plan, executor=pool)(counts[:0]).photons.shape == (0, 32, 48)
        plan, pairs = make_plan(exposures_s=(0.1, 0.1)), np.concatenate([frames[:3], frames[3:6]], axis=1)
        same(make_pipeline(plan, executor=pool)(pairs, (dark, dark)), make_pipeline(plan)(pairs, (dark, dark)))


def test_what_a_worker_raises_is_raised_here(frames, dark):
    class Broken(LastFirst):
        def submit(self, fn, /, *args):
            raise OSError("no worker is left")

    with pytest.raises(OSError, match="no worker is left"):
        make_pipeline(make_plan(), executor=Broken())(frames[:1], (dark,))
    strict = make_pipeline(make_plan(), PreprocessSettings(strict_darks=True), executor=LastFirst())
    with pytest.raises(MetadataError, match="strict_darks"):
        strict(frames[:1])
    with pytest.raises(SettingsError, match=r"executor is a int; expected one like those of concurrent\.futures"):
        make_pipeline(make_plan(), executor=4)


def test_a_worker_forgets_the_oldest_setups(frames, dark):
    executor = LastFirst()
    pipelines = [make_pipeline(make_plan(), executor=executor) for _ in range(workers.KEPT_SETUPS + 1)]
    for pipeline in pipelines:
        pipeline(frames[:1], (dark,))
    assert len(workers._known) == workers.KEPT_SETUPS
    executor.setups.clear()
    pipelines[-1](frames[:1], (dark,))
    pipelines[0](frames[:1], (dark,))
    assert [setup is not None for setup in executor.setups] == [False, False, True]


@pytest.mark.parametrize("processes", [False, True])
def test_a_dask_client_gives_what_threads_give(processes, frames, dark, small_chunks, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra 'distributed'")
    expected = make_pipeline(make_plan(), SETTINGS["cosmic"])(frames, (dark,))
    kwargs = {"n_workers": 2, "threads_per_worker": 1, "processes": processes, "dashboard_address": None}
    with (
        distributed.LocalCluster(**kwargs, local_directory=str(tmp_path)) as cluster,
        distributed.Client(cluster) as client,
    ):
        pipeline = make_pipeline(make_plan(), SETTINGS["cosmic"], executor=client)
        same(pipeline(frames, (dark,)), expected)
        same(pipeline(frames, (dark,)), expected)
        assert client.submit(sum, (3, 4)).result() == 7  # it is still there
