"""Scans of many small frames, and what callbacks cost the RunEngine."""

from __future__ import annotations

import gc
import threading
import time

import h5py
import numpy as np
import psutil

from tests.callbacks.compose import DATASET, ComposedRun, small_plan

from .scene import LIGHT

SIDE = 16


class ManyFrames(ComposedRun):
    """A raster of `n` points with frames of 16 x 16 pixels, of which all are views of one file's few patterns."""

    def __init__(self, n, directory):
        columns = int(np.ceil(np.sqrt(n)))
        positions = np.stack(np.divmod(np.arange(n), columns), axis=1) * 4e-8
        super().__init__(small_plan(positions, shape=(SIDE, SIDE), illumination=LIGHT))
        self.path = directory / f"{self.start['uid']}.h5"
        rng, spot = np.random.default_rng(0), np.hypot(*np.indices((SIDE, SIDE)) - SIDE / 2 + 0.5) < 4
        with h5py.File(self.path, "w", libver="latest") as file:
            data = file.create_dataset(DATASET, (n, SIDE, SIDE), "<u2", chunks=(min(n, 256), SIDE, SIDE))
            for first in range(0, n, 4096):
                rows = min(4096, n - first)
                data[first : first + rows] = rng.poisson(200 * spot, (rows, SIDE, SIDE))

    def documents(self):
        """Yield the documents as they come from a scan."""
        yield ("start", self.start)
        yield from self.open_stream()
        for row, position in enumerate(self.plan.positions_m * 1e6):
            yield self.stored(row, row + 1)
            yield self.event(row + 1, row, position)
        yield self.stop()


def timed(callback, documents, pause_s=0.0):
    """Send documents; return what each took, in s."""
    took = []
    for name, doc in documents:
        began = time.perf_counter()
        callback(name, doc)
        took.append(time.perf_counter() - began)
        if pause_s:
            time.sleep(pause_s)
    return np.array(took)


def resident():
    """Return the bytes of memory that only this process has."""
    gc.collect()
    return psutil.Process().memory_full_info().uss


def resources():
    """Return how many threads, processes, file handles and pieces of shared memory this process has."""
    gc.collect()
    process = psutil.Process()
    return {
        "threads": len([t for t in threading.enumerate() if t.name.startswith("ptycho")]),
        "processes": len(process.children(recursive=True)),
        "handles": process.num_fds(),
        "shared": len([m for m in process.memory_maps(grouped=False) if "/dev/shm" in m.path]),
    }
