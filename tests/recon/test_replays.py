"""Passes recorded once and done again at one call: the same as plain ones, used where they help, given up where not."""

import dataclasses
import itertools
import logging

import numpy as np
import pytest

from bluesky_ptycho.recon import replays
from bluesky_ptycho.recon.engine import PassForm

from ..cuda_on_host import HostCuda
from ..device_arrays import DeviceArray
from .small_problem import PIXEL_M, make_problem

ALGORITHMS = ("epie", "rpie", "mpie", "lsqml")


@pytest.fixture
def helpful(monkeypatch):
    """Have all that is recorded used, however long it takes here."""
    monkeypatch.setattr(replays.Replays, "helps", True)


def shifted(problem):
    batch = problem.batch()
    moved = batch.positions_m + np.random.default_rng(4).uniform(-0.4, 0.4, batch.positions_m.shape) * PIXEL_M
    return dataclasses.replace(batch, positions_m=moved)


def solve(problem, backend, *, passes=8, batch=None, **settings):
    """Return object, residuals, what was refined, and the passes that were replayed."""
    settings = {"probe_start": 1, "refine_start": 2, "batch_size": 4} | settings
    with problem.solver(backend=backend, **settings) as solver:
        solver.add(shifted(problem) if batch is None else batch)
        solver.step(passes)
        found, frames = solver.snapshot(), solver._state.frames
        known = replays_of(solver)
        replayed = len(known.replayed_s) if known else 0
        return found.object, found.residuals, frames.shift_px.copy(), frames.gain.copy(), replayed


def replays_of(solver):
    return solver._state.memory.get("replays")


class Unrecorded(HostCuda):
    records = False


REFINED = [{}, {"refine_positions": True}, {"fit_intensity": True}, {"modes": 3}, {"noise": "poisson"}]


@pytest.mark.parametrize("settings", REFINED, ids=lambda s: "-".join(s) or "plain")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_recorded_pass_does_what_a_plain_one_does(host_cuda, helpful, algorithm, settings):
    problem = make_problem(photons=1e5, n_side=4)
    *ours, replayed = solve(problem, host_cuda, algorithm=algorithm, **settings)
    *expected, none = solve(problem, Unrecorded(host_cuda.directory), algorithm=algorithm, **settings)
    assert replayed >= 2 and none == 0
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.gpu
def test_a_recorded_pass_on_a_card(helpful):
    problem = make_problem(photons=1e5, n_side=4)
    *ours, replayed = solve(problem, "cupy", algorithm="rpie")
    *expected, _ = solve(problem, "numpy", algorithm="rpie")
    assert replayed >= 2
    np.testing.assert_allclose(ours[0], expected[0], atol=5e-3)


def test_replays_launch_nothing_and_wait_once(host_cuda, helpful):
    problem = make_problem(n_side=4)
    with problem.solver(backend=host_cuda, algorithm="rpie", probe_start=0, batch_size=4) as solver:
        solver.add(problem.batch())
        solver.step(4)
        host_cuda.launches.clear()
        waits = DeviceArray.waits
        solver.step(3)
        assert host_cuda.launches == []
        assert DeviceArray.waits - waits == 2 * 3  # the error, and whether the state before was finite


def test_a_frame_that_comes_is_seen(host_cuda, helpful):
    """Another number of frames is another form: passes are plain until that, too, has come often enough."""
    problem = make_problem(photons=1e5, n_side=4)
    batch, found = shifted(problem), []
    part = [
        dataclasses.replace(
            batch, seq_nums=batch.seq_nums[s], positions_m=batch.positions_m[s], amplitude=batch.amplitude[s]
        )
        for s in (slice(0, 12), slice(12, None))
    ]
    for backend in (host_cuda, Unrecorded(host_cuda.directory)):
        with problem.solver(backend=backend, algorithm="rpie", probe_start=0, batch_size=4) as solver:
            counts = []
            for each in part:
                solver.add(each)
                for _ in range(5):
                    solver.step()
                    known = replays_of(solver)
                    counts.append(len(known.replayed_s) if known else 0)
            found.append((solver.snapshot().object, counts))
    assert found[0][1] == [0, 0, 0, 0, 1, 0, 0, 0, 1, 2]  # the probe is held in the first pass
    assert found[1][1] == [0] * 10
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)


def test_a_frame_that_is_replaced_is_seen(host_cuda, helpful):
    problem, found = make_problem(photons=1e5, n_side=4), []
    batch = shifted(problem)
    brighter = dataclasses.replace(batch, amplitude=1.1 * batch.amplitude, positions_m=batch.positions_m + PIXEL_M)
    for backend in (host_cuda, Unrecorded(host_cuda.directory)):
        with problem.solver(backend=backend, algorithm="rpie", probe_start=0, batch_size=4) as solver:
            for each in (batch, brighter):
                solver.add(each)
                solver.step(6)
            found.append(solver.snapshot().object)
    np.testing.assert_allclose(*found, atol=1e-6)


def test_what_takes_longer_is_not_used(host_cuda, monkeypatch):
    """Two plain passes of two seconds, one that is recorded, two replays of three seconds, and no more."""
    problem, clock = make_problem(n_side=4), itertools.count()
    recorded = []

    def slow(work):
        replay = HostCuda.record(host_cuda, work)

        def again():
            recorded.append(1)
            replay()
            next(clock)
            next(clock)

        return again

    monkeypatch.setattr(host_cuda, "record", slow, raising=False)
    monkeypatch.setattr(replays.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(replays, "ORDERING_SHARE", 0.4)
    with problem.solver(backend=host_cuda, algorithm="rpie", probe_start=0) as solver:
        solver.add(problem.batch())
        solver.step(10)
        assert len(recorded) == 2 + replays.TRIES
        assert replays_of(solver)._recorded is None
        assert not replays_of(solver).given_up


def test_a_device_that_is_busy_is_left_alone(host_cuda, monkeypatch):
    """Half of a pass is waiting: there is nothing to gain."""
    clock = itertools.count()
    monkeypatch.setattr(replays.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(host_cuda, "record", None, raising=False)
    problem = make_problem(n_side=4)
    with problem.solver(backend=host_cuda, algorithm="rpie", probe_start=0) as solver:
        solver.add(problem.batch())
        solver.step(6)
        assert len(replays_of(solver).plain_s) == 5
        assert not replays_of(solver).given_up


def test_a_form_keeps_no_array():
    one, other = np.zeros(3), np.zeros(3)
    form = PassForm.of((1,), (one, None))
    assert form.is_same(PassForm.of((1,), (one, None)))
    for changed in (PassForm.of((2,), (one, None)), PassForm.of((1,), (other, None)), PassForm.of((1,), (one, other))):
        assert not form.is_same(changed) and not changed.is_same(form)
    del one
    assert form.arrays[0]() is None and not form.is_same(form)


def test_a_device_that_cannot_record_is_told_of_once(host_cuda, monkeypatch, caplog):
    def refuse(work):
        work()
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    problem = make_problem(photons=1e5, n_side=4)
    expected = solve(problem, Unrecorded(host_cuda.directory), algorithm="lsqml")
    monkeypatch.setattr(
        host_cuda, "record", lambda work: HostCuda.record(host_cuda, lambda: refuse(work)), raising=False
    )
    with caplog.at_level(logging.INFO, "bluesky_ptycho"):
        found = solve(problem, host_cuda, algorithm="lsqml")
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    assert [r.message for r in caplog.records if "cannot be recorded" in r.message] == [
        "a pass cannot be recorded: RuntimeError: cudaErrorStreamCaptureUnsupported"
    ]


def test_what_differs_from_a_plain_pass_is_not_used(host_cuda, helpful, monkeypatch, caplog):
    def wrong(work):
        replay = HostCuda.record(host_cuda, work)
        count = itertools.count()

        def again():
            if next(count) != 1:  # all but the second time
                replay()

        return again

    problem = make_problem(photons=1e5, n_side=4)
    expected = solve(problem, Unrecorded(host_cuda.directory), algorithm="rpie")
    monkeypatch.setattr(host_cuda, "record", wrong, raising=False)
    with caplog.at_level(logging.WARNING, "bluesky_ptycho"):
        found = solve(problem, host_cuda, algorithm="rpie")
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    assert sum("differs from the plain one" in r.message for r in caplog.records) == 1


@pytest.mark.parametrize("settings", [{"probe_variations": 2}, {"fit_background": True}, {"compact_batches": True}])
def test_what_is_uploaded_in_a_pass_is_not_recorded(host_cuda, helpful, settings):
    assert solve(make_problem(n_side=4), host_cuda, algorithm="rpie", refine_start=0, **settings)[-1] == 0
