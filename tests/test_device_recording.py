"""Graphs and their memory, with a stand-in for CuPy's module: what is kept and what is freed is seen without a card."""

import contextlib
import gc
from typing import ClassVar

import pytest

from bluesky_ptycho.device_recording import MOST_PLANS, Plans, Recorder


class Runtime:
    class CUDARuntimeError(RuntimeError):
        pass


class Pool:
    """Blocks of memory by name; free ones stay until they are asked for, as in CuPy's pools."""

    made: ClassVar[list] = []

    def __init__(self, allocator):
        self.allocator, self.used, self.free, self.limit = allocator, set(), set(), None
        Pool.made.append(self)

    def set_limit(self, size):
        self.limit = size

    def malloc(self, name):
        self.allocator(name)
        self.used.add(name)
        return Block(self, name)

    def free_all_blocks(self):
        self.free.clear()

    def total_bytes(self):
        return len(self.used) + len(self.free)


class Block:
    def __init__(self, pool, name):
        self.pool, self.name = pool, name

    def __del__(self):
        self.pool.used.discard(self.name)
        self.pool.free.add(self.name)


class Graph:
    def __init__(self):
        self.launched = 0

    def launch(self):
        self.launched += 1


class Stream:
    def __init__(self, non_blocking):
        assert non_blocking
        self.graph, self.captures = Graph(), False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert not self.captures

    def begin_capture(self):
        self.captures = True

    def end_capture(self):
        self.captures = False
        return self.graph


class Cuda:
    runtime, MemoryPool, Stream = Runtime, Pool, Stream

    def __init__(self, room=100):
        self.room, self.malloc = room, None

    def Memory(self, size):
        if size > self.room:
            raise Runtime.CUDARuntimeError("out of memory")
        return size

    def MemoryPointer(self, memory, offset):
        return memory, offset

    @contextlib.contextmanager
    def using_allocator(self, malloc):
        self.malloc = malloc
        try:
            yield
        finally:
            self.malloc = None


@pytest.fixture
def cuda():
    Pool.made.clear()
    return Cuda()


def test_memory_is_given_back_once_recording_and_results_are_gone(cuda):
    recorder, results = Recorder(cuda, Plans()), []

    def work():
        cuda.malloc(1)  # a temporary
        results.append(cuda.malloc(2))

    replay = recorder.record(work)
    (pool,) = Pool.made
    assert pool.limit == 0
    recorder.give_back()
    assert pool.total_bytes() == 2  # the graph works in both
    replay()
    replay()
    assert replay._graph.launched == 2
    del replay
    recorder.give_back()
    assert pool.used == {2} and not pool.free
    results.clear()
    gc.collect()
    recorder.give_back()
    assert pool.total_bytes() == 0 and recorder._retired == []


def test_what_cannot_be_recorded_leaves_nothing_behind(cuda):
    plans = Plans()
    recorder = Recorder(cuda, plans)

    def work():
        cuda.malloc(1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        recorder.record(work)
    recorder.give_back()
    assert Pool.made[0].total_bytes() == 0 and cuda.malloc is None
    assert plans.get((1,), lambda: "plan") == "plan"  # new ones are made again


def test_short_memory_is_no_memory_error(cuda):
    """Which would make the engine's chunks smaller, for a recording that nobody has to have."""
    with pytest.raises(RuntimeError, match="no room for what a recorded pass works in") as found:
        Recorder(cuda, Plans()).record(lambda: cuda.malloc(101))
    assert not isinstance(found.value, MemoryError | Runtime.CUDARuntimeError)


def test_plans_of_a_recording_live_as_long(cuda):
    plans = Plans()
    recorder, made = Recorder(cuda, plans), plans.get((0,), object)
    replay = recorder.record(lambda: plans.get((0,), object))
    for n in range(1, MOST_PLANS + 1):
        plans.get((n,), object)
    assert plans.get((0,), object) is not made
    assert replay._kept[0] == [made]


def test_no_transform_is_planned_while_recording(cuda):
    with pytest.raises(RuntimeError, match=r"no transform of shape \(3,\) was planned"):
        Recorder(cuda, plans := Plans()).record(lambda: plans.get((3,), object))


def test_plans_used_last_are_kept():
    plans = Plans()
    first = plans.get((0,), object)
    for n in range(1, MOST_PLANS):
        plans.get((n,), object)
    assert plans.get((0,), object) is first
    plans.get((MOST_PLANS,), object)
    assert plans.get((0,), object) is first
    assert set(plans._plans) == {(0,), *((n,) for n in range(2, MOST_PLANS + 1))}
