"""Recording what a CUDA device is told, for it to be done again at one call: a CUDA graph and the memory it works in.

CuPy's modules come as arguments; :mod:`bluesky_ptycho.backend` alone imports it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

MOST_PLANS = 16


class Plans(threading.local):
    """A thread's plans of transforms, those used last; a plan has memory that no other thread may use meanwhile."""

    def __init__(self) -> None:
        self._plans: dict[tuple[int, ...], Any] = {}
        self._used: list[Any] | None = None

    def watch(self) -> list[Any]:
        """Return a list to which all plans used from now on are added; new ones are refused."""
        self._used = []
        return self._used

    def watch_no_more(self) -> None:
        """End what `watch` began."""
        self._used = None

    def get(self, shape: tuple[int, ...], make: Callable[[], Any]) -> Any:
        """Return the plan for arrays of `shape`; `make` makes one that is not there.

        Raises
        ------
        RuntimeError
            If there is none while plans are watched: to make one is nothing that can be recorded.
        """
        if shape not in self._plans and self._used is not None:
            raise RuntimeError(f"no transform of shape {shape} was planned before it was to be recorded")
        plan = self._plans[shape] = self._plans.pop(shape, None) or make()
        if len(self._plans) > MOST_PLANS:
            del self._plans[next(iter(self._plans))]
        if self._used is not None:
            self._used.append(plan)
        return plan


class Recording:
    """A graph, and what must live as long: its memory, plans and stream."""

    def __init__(self, graph: Any, pool: Any, kept: Any, retired: list[Any]) -> None:
        self._graph, self._pool, self._kept, self._retired = graph, pool, kept, retired

    def __call__(self) -> None:
        """Have all of it done again, on the current stream."""
        self._graph.launch()

    def __del__(self) -> None:
        self._graph = None
        self._retired.append(self._pool)  # what the work has returned may lie in it still


class Recorder:
    """Records work in memory of its own, and gives the memory back when the recording is gone.

    Parameters
    ----------
    cuda : module
        ``cupy.cuda``.
    plans : Plans
        Of all transforms in what is recorded.
    """

    def __init__(self, cuda: Any, plans: Plans) -> None:
        self._cuda, self._plans = cuda, plans
        self._retired: list[Any] = []

    def record(self, work: Callable[[], Any]) -> Recording:
        """Capture what `work` tells the current device.

        Raises
        ------
        RuntimeError, or CuPy's own errors
            If `work` does what cannot be recorded, or memory is short.
        """
        self.give_back()
        cuda, used = self._cuda, self._plans.watch()
        pool, stream = cuda.MemoryPool(self._malloc_once), cuda.Stream(non_blocking=True)
        pool.set_limit(size=0)  # else it would free blocks, too, where the user has set one
        graph = None
        try:
            with cuda.using_allocator(pool.malloc), stream:
                stream.begin_capture()
                try:
                    work()
                finally:
                    graph = stream.end_capture()
            return Recording(graph, pool, (used, stream), self._retired)
        except BaseException:
            graph = None
            self._retired.append(pool)
            raise
        finally:
            self._plans.watch_no_more()

    def _malloc_once(self, size: int) -> Any:
        """Allocate or fail: a pool that frees its blocks and tries again would free what is recorded already."""
        cuda = self._cuda
        try:
            return cuda.MemoryPointer(cuda.Memory(size), 0)
        except cuda.runtime.CUDARuntimeError as error:
            raise RuntimeError("no room for what a recorded pass works in") from error

    def give_back(self) -> None:
        """Free what recordings that are gone worked in: a pool of CuPy does not when it is dropped."""
        for pool in list(self._retired):
            pool.free_all_blocks()
            if not pool.total_bytes():
                self._retired.remove(pool)
