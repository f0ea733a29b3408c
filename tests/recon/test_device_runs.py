"""Chunks, memory and whole runs of the GPU engine against the array code."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.recon.device_engine import DeviceEngine
from bluesky_ptycho.recon.device_kernels import SolveKernels
from bluesky_ptycho.recon.measure import error_of
from bluesky_ptycho.recon.object_sums import ObjectSums
from bluesky_ptycho.recon.settings import REFLECTING
from bluesky_ptycho.registry import algorithms

from ..cuda_on_host import HostCuda
from ..device_arrays import DeviceArray
from .backends import UnfusedBackend
from .device_problem import MIXED, WINDOW, Both, N, gradients, make_state, same, summed
from .small_problem import PIXEL_M, make_problem


@summed
def test_more_frames_times_modes_than_a_grid_is_high(backend, tiled):
    frames, modes = 1100, 60
    corners = np.random.default_rng(1).uniform(0, 6, (frames, 2))
    both = Both(backend, corners, modes, tiled=tiled, window=(8, 8), canvas=(14, 14))
    _, totals = both.visit(gradients)
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)
    for found in both.sums().values():
        same(found, rtol=1e-3)


@summed
def test_chunks_change_nothing(backend, modes, tiled):
    results = []
    for frames in (N, 2):
        state = make_state(backend, MIXED, modes)
        engine = DeviceEngine(backend, frames * 8 * state.probe.size, tiled)
        seen = []

        def visit(lane, chunk, state=state, seen=seen):
            seen.append(len(chunk))
            gradients(lane, state, chunk)

        total = float(engine.run(state, state.frames.slots(), visit))
        sums = vars(engine._ensure(state)).values()
        results.append((seen, total, [backend.to_host(a) for a in sums]))
    (one, total, sums), (several, total_too, sums_too) = results
    assert (one, several) == ([5], [2, 2, 1])
    assert total == pytest.approx(total_too, rel=1e-6)
    for found in zip(sums, sums_too, strict=True):
        same(found)


class Scarce:
    """An array module whose device holds arrays of so many bytes."""

    def __init__(self, xp, most):
        self._xp, self._most = xp, most

    def __getattr__(self, name):
        return getattr(self._xp, name)

    def empty(self, shape, dtype):
        if np.prod(shape) * np.dtype(dtype).itemsize > self._most:
            raise MemoryError
        return self._xp.empty(shape, dtype)


def test_chunks_are_halved_while_they_do_not_fit(tmp_path, host_cuda):
    expected = DeviceEngine(host_cuda)
    state = make_state(host_cuda)
    total = float(expected.run(state, state.frames.slots(), lambda lane, slots: gradients(lane, state, slots)))
    scarce = HostCuda(host_cuda.directory)
    scarce.xp = Scarce(scarce.xp, 2.5 * 8 * state.probe.size)
    poor, engine, seen = make_state(scarce), DeviceEngine(scarce), []

    def visit(lane, slots):
        gradients(lane, poor, slots)
        seen.append(len(slots))

    for n in ([2, 2, 1], [2, 2, 1, 2, 2, 1]):  # the second run knows what fits
        assert float(engine.run(poor, poor.frames.slots(), visit)) == pytest.approx(total, rel=1e-6)
        assert seen == n
    sums = [scarce.to_host(e._ensure(s).gradient) for e, s in ((engine, poor), (expected, state))]
    same([sums[0], 2 * sums[1]])
    scarce.xp = Scarce(host_cuda.xp, 100)
    with pytest.raises(MemoryError):
        engine.run(poor, poor.frames.slots(), visit)


def test_memory_that_ran_out_with_half_a_sum_made_is_told(backend):
    state, engine = make_state(backend), DeviceEngine(backend)

    def visit(lane, slots):
        gradients(lane, state, slots)
        raise MemoryError

    with pytest.raises(MemoryError):
        engine.run(state, state.frames.slots(), visit)


def test_frames_that_move_come_or_change_are_seen(backend):
    both = Both(backend)

    def error():
        found = [error_of(s, e, s.frames.slots()) for e, s in zip(both.engines, both.states, strict=True)]
        assert found[0] == pytest.approx(found[1], rel=1e-5)
        return found[0]

    errors = [error()]
    for state in both.states:
        state.frames.shift_px[:] += 0.4
        state.frames.place(state.canvas)
    errors.append(error())
    for state in both.states:
        state.frames.gain[:] *= 1.5
    errors.append(error())
    for state in both.states:
        state.frames.drop([1, 2])
        new = Batch(np.array([7]), np.array([[14.0, 12.0]]), np.ones((1, *WINDOW), np.float32), np.ones(WINDOW, bool))
        state.frames.put(new, state.canvas)
    errors.append(error())
    assert len(set(errors)) == 4


RUNS = [("mpie", "gaussian"), ("lsqml", "gaussian"), ("lsqml", "poisson"), ("raar", "gaussian"), ("ml", "poisson")]


@summed
@pytest.mark.parametrize(("algorithm", "noise"), RUNS)
def test_a_whole_run_equals_the_array_codes(backend, algorithm, noise, modes, tiled):
    problem = make_problem(photons=1e5, n_side=5)
    batch = problem.batch()
    shifted = batch.positions_m + np.random.default_rng(4).uniform(-0.4, 0.4, batch.positions_m.shape) * PIXEL_M
    batch = dataclasses.replace(batch, positions_m=shifted)
    found = []
    for each in (backend, UnfusedBackend()):
        with problem.solver(backend=each, algorithm=algorithm, noise=noise, modes=modes, probe_start=1) as solver:
            assert isinstance(solver._engine, DeviceEngine) == (each is backend)
            solver._engine.object_sums = ObjectSums(each, SolveKernels(each), tiled) if each is backend else None
            solver.warm_up()
            solver.add(batch)
            solver.step(5)
            found.append(solver.snapshot(exact_residual=True))
    ours, expected = found
    same([ours.object, expected.object], rtol=2e-3)
    same([ours.probe, expected.probe], rtol=2e-3)
    assert ours.residuals == pytest.approx(expected.residuals, rel=1e-3)
    assert ours.residual == pytest.approx(expected.residual, rel=1e-3)


@pytest.mark.parametrize(
    "changes", [{"probe_variations": 2}, {"refine_positions": True}, {"fit_intensity": True, "fit_background": True}],
    ids="-".join,
)  # fmt: skip
def test_what_is_not_fused_equals_the_array_codes(backend, changes):
    problem = make_problem(photons=1e5, n_side=5)
    found = []
    for each in (backend, UnfusedBackend()):
        with problem.solver(backend=each, probe_start=1, **changes) as solver:
            solver.add(problem.batch())
            solver.step(8)
            found.append(solver.snapshot())
    same([snapshot.object for snapshot in found], rtol=5e-3)


LEARNING = {
    "nothing": {},
    "positions": {"refine_positions": True, "refine_start": 0},
    "gains": {"fit_intensity": True, "refine_start": 0},
    "background": {"fit_background": True, "refine_start": 0},
    "variations": {"probe_variations": 2, "refine_start": 0},
    "slices": {"slices": 2, "slice_distance_m": 2e-6},
}


NAMES = ("epie", "rpie", "mpie", "dm", "raar", "admm", "lsqml", "ml")
LEARNT = [(name, what) for name in NAMES for what in LEARNING if what != "background" or name not in REFLECTING]


@pytest.mark.parametrize(("algorithm", "learns"), LEARNT)
def test_no_pass_waits_for_the_device_before_its_end(host_cuda, monkeypatch, algorithm, learns):
    """A device works on while the host says what comes next; the pass's error is a scalar there."""
    problem, waits, learning = make_problem(n_side=4), [], LEARNING[learns]
    pass_of = algorithms[algorithm]

    def watched(*arguments):
        before = DeviceArray.waits
        error = pass_of(*arguments)
        waits.append(DeviceArray.waits - before)
        return error

    monkeypatch.setitem(algorithms._entries, algorithm, watched)
    with problem.solver(backend=host_cuda, algorithm=algorithm, probe_start=0, batch_size=4, **learning) as solver:
        solver.add(problem.batch())
        solver.step(3)
        assert np.isfinite(solver.snapshot().residuals).all()
    assert waits == [0, 0, 0]


@pytest.mark.parametrize(("changes", "waits"), [({}, 2), ({"refine_positions": True}, 3), ({"fit_intensity": True}, 3)])
def test_what_a_pass_brings_back(host_cuda, changes, waits):
    """Its error, whether the state before it was finite, and what frames ask of what is refined, all at once."""
    problem = make_problem(n_side=6)
    with problem.solver(backend=host_cuda, probe_start=0, refine_start=0, batch_size=4, **changes) as solver:
        solver.add(problem.batch())
        solver.step(2)
        before = DeviceArray.waits
        solver.step()
        assert DeviceArray.waits - before == waits
