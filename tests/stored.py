"""Scans and results written into a catalog by composed documents."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np

from bluesky_ptycho.callbacks.updates import Progress, Update
from bluesky_ptycho.frames import Snapshot
from bluesky_ptycho.geometry import Canvas, Geometry
from tests.callbacks.compose import DATASET, ComposedRun, small_plan

GEOMETRY = Geometry(800.0, 0.121, (120e-6, 120e-6), (16, 16))
POSITIONS = np.stack(np.meshgrid(np.arange(2), np.arange(3), indexing="ij"), -1).reshape(-1, 2) * 1e-6


def numbered_frames(n, seed=0):
    return np.random.default_rng(seed).integers(0, 60000, (n, 16, 16), dtype=np.uint16)


def scan_documents(directory, *, exposures_s=(0.1,), n_darks=2, close=True, planned=None, **metadata):
    """Yield the documents of a scan of 6 points with darks; its frames lie in `directory`."""
    plan = small_plan(POSITIONS, exposures_s=exposures_s, n_darks=n_darks, **(planned or {}))
    k, points = len(exposures_s), len(POSITIONS)
    run = ComposedRun(plan, metadata={"sample_name": "gold", **metadata})
    uid = run.start["uid"]
    yield ("start", run.start)
    for stream, n, seed in (("dark", n_darks, 1), ("primary", points, 2)):
        if not n:
            continue
        run.path = Path(directory) / f"{uid}_{stream}.h5"
        with h5py.File(run.path, "w", libver="latest") as file:
            file.create_dataset(DATASET, data=numbered_frames(n * k, seed), chunks=(1, 16, 16))
        yield from run.open_stream(stream)
        for i in range(n):
            yield run.event(i + 1, i * k, POSITIONS[i] * 1e6 if stream == "primary" else None, name=stream)
            yield run.stored(i, i + 1, stream)
    if close:
        yield run.stop(exit_status="success")


def store_scan(catalog, **options):
    """Write a scan into the catalog; return its start document."""
    writer, start = catalog.raw_writer(), {}
    for name, doc in scan_documents(catalog.frames_dir, **options):
        start = doc if name == "start" else start
        writer(name, doc)
    return start


def small_snapshot(shape=(40, 50), seed=0, frc=True):
    """Return a snapshot of random arrays."""
    rng = np.random.default_rng(seed)
    waves = rng.standard_normal((2, *shape)).astype(np.float32)
    curve = {
        "frequency_per_m": np.arange(4.0) * 2e7,
        "correlation": np.linspace(1, 0, 4),
        "half_bit": np.linspace(0.9, 0.2, 4),
    }
    return Snapshot(
        object=waves[0] + 1j * waves[1],
        probe=(waves[0, :32, :16] * 1j).reshape(2, 16, 16).astype(np.complex64),
        canvas=Canvas(shape, (-1e-6, 2e-6), GEOMETRY.object_pixel_m, GEOMETRY.shape),
        geometry=GEOMETRY,
        coverage=np.abs(waves[0]),
        seq_nums=np.arange(len(POSITIONS)),
        positions_m=POSITIONS.copy(),
        residuals=np.array([0.5, 0.25, 0.125]),
        residual=0.1,
        iteration=3,
        frc={**curve, "half_bit_m": 12e-9, "one_seventh_m": math.nan} if frc else None,
        settings={"algorithm": "rpie"},
    )


def update(kind, start, snapshot=None, progress=None, **more):
    """Return an update of a run with `start`."""
    return Update(
        kind=kind,
        start=start,
        plan=small_plan(POSITIONS),
        geometry=GEOMETRY,
        settings={"solver": {"algorithm": "rpie", "modes": 2}},
        progress=progress or Progress(planned=len(POSITIONS)),
        snapshot=snapshot,
        **more,
    )


def store_failure(catalog, start, reason):
    """Write a result run that failed without an image; return its uid."""
    from bluesky_ptycho.callbacks.results import ResultRun

    sink = ResultRun(catalog.result_writer(), catalog.results_dir)
    sink(update("start", start))
    sink(update("final", start, exit_status="fail", reason=reason, missing=(1, 2, 3)))
    return sink.result_uid


def store_result(catalog, start, snapshot=None, **final):
    """Write a result run for a scan; return its uid."""
    from bluesky_ptycho.callbacks.results import ResultRun

    sink = ResultRun(catalog.result_writer(), catalog.results_dir)
    sink(update("start", start))
    sink(update("final", start, snapshot or small_snapshot(), exit_status="success", **final))
    return sink.result_uid
