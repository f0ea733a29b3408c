"""How a device adds up the object's gradients: timed for chunks of each size, and the faster way taken."""

import numpy as np
import pytest

from bluesky_ptycho.recon import object_sums
from bluesky_ptycho.recon.device_engine import DeviceEngine
from bluesky_ptycho.recon.device_kernels import TILE, SolveKernels, tiles_under

from .device_problem import gradients, make_state
from .small_problem import make_problem


def test_both_ways_are_timed_before_the_first_frame(host_cuda):
    with make_problem(n_side=4).solver(backend=host_cuda) as solver:
        host_cuda.launches.clear()
        solver.warm_up()
        assert sorted(solver._engine.object_sums.seconds) == [1, 3, 6, 12, 16]
    assert {"pie_gradients", "object_gradients"} <= set(host_cuda.launches)
    assert all(seconds > 0 for pair in solver._engine.object_sums.seconds.values() for seconds in pair)


def test_the_faster_way_is_taken_for_as_many_frames(host_cuda, monkeypatch):
    state, engine = make_state(host_cuda), DeviceEngine(host_cuda)

    def seconds(self, add, asked):
        return 2.0 if (asked.frames > 1) == (add == self._by_atomics) else 1.0

    monkeypatch.setattr(object_sums.ObjectSums, "_seconds", seconds)
    engine.warm_up(state)
    assert [engine.object_sums.tiled(n) for n in (1, 2, 3, 5, 100)] == [False, True, True, True, False]
    for slots, kernel in ((state.frames.slots(), "object_gradients"), (state.frames.slots()[:1], "pie_gradients")):
        host_cuda.launches.clear()
        engine.run(state, slots, lambda lane, chunk: gradients(lane, state, chunk))
        assert kernel in host_cuda.launches
        assert not {"object_gradients", "pie_gradients"} - {kernel} & set(host_cuda.launches)


def test_what_does_not_fit_is_not_measured(host_cuda, monkeypatch):
    sums, state = object_sums.ObjectSums(host_cuda, SolveKernels(host_cuda)), make_state(host_cuda)

    def seconds(self, add, asked):
        if asked.frames > 2:
            raise MemoryError
        return 1.0

    monkeypatch.setattr(object_sums.ObjectSums, "_seconds", seconds)
    sums.measure(state, 5)
    assert list(sums.seconds) == [1]
    assert not sums.tiled(5)


def test_sums_stay_as_they_were(host_cuda):
    state, engine = make_state(host_cuda), DeviceEngine(host_cuda)
    engine.run(state, state.frames.slots(), lambda lane, chunk: gradients(lane, state, chunk))
    sums = [host_cuda.to_host(a) for a in vars(engine._ensure(state)).values()]
    engine.warm_up(state)
    for before, now in zip(sums, vars(engine._ensure(state)).values(), strict=True):
        np.testing.assert_array_equal(before, host_cuda.to_host(now))


@pytest.mark.parametrize("window", [(1, 1), (2, 2), (8, 32), (9, 33), (10, 34), (256, 250)])
def test_tiles_under_a_window(window):
    """Counted for all places of its first pixel in a tile."""
    most = [
        max(len({(first + i) // side for i in range(size)}) for first in range(side))
        for size, side in zip(window, TILE, strict=True)
    ]
    assert tiles_under(window) == most[0] * most[1]
