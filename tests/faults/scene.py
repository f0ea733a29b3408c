"""A scan as composed documents with an HDF5 file behind them, and what analyses make of it."""

from __future__ import annotations

import dataclasses
import random

import h5py
import numpy as np

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from bluesky_ptycho.callbacks.dark_store import DarkStore
from bluesky_ptycho.callbacks.frame_supply import FrameSupply
from bluesky_ptycho.callbacks.intake import Intake
from bluesky_ptycho.scan_plan import Illumination
from tests.callbacks.compose import DATASET, ComposedRun, small_plan
from tests.preprocess.camera import ADU_PER_EV, SHAPE

SETTINGS = LiveSettings(frc=False, progress_interval_s=0.05, snapshot_interval_s=5.0, patience_s=0.5)
LIGHT = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=60e-6, defocus_m=10e-6)


def fccd_plan(n, **fields):
    """Return the plan of n points with FCCD frames."""
    plan = small_plan(np.stack([np.zeros(n), np.arange(n) * 5e-8], axis=1), shape=SHAPE, **fields)
    detector = dataclasses.replace(plan.detector, layout="fccd-assembled", pixel_m=(30e-6,) * 2, adu_per_ev=ADU_PER_EV)
    return dataclasses.replace(plan, detector=detector)


def plain_plan(positions_m, shape, **fields):
    return small_plan(positions_m, shape=shape, illumination=LIGHT, **fields)


class Scan(ComposedRun):
    """A run of one event for each planned position; frames are written one by one, or left out."""

    def __init__(self, plan, directory, frames, *, left_out=(), broken=(), packed=True, start_time=None, **metadata):
        metadata |= {} if start_time is None else {"time": start_time}
        super().__init__(plan, metadata=metadata)
        self.path = directory / f"{self.start['uid']}.h5"
        with h5py.File(self.path, "w", libver="latest") as file:
            data = file.create_dataset(
                DATASET,
                frames.shape,
                frames.dtype,
                chunks=(1, *frames.shape[1:]),
                compression="gzip" if packed else None,
                compression_opts=1 if packed else None,
            )
            for row, frame in enumerate(frames):
                if row in broken:
                    data.id.write_direct_chunk((row, 0, 0), b"half a frame")
                elif row not in left_out:
                    data[row] = frame

    def documents(self, *, lost=()):
        """Yield the documents in order; events of the points in `lost` were sent but never arrive."""
        yield ("start", self.start)
        yield from self.open_stream()
        for row, position in enumerate(self.plan.positions_m * 1e6):
            event = self.event(row + 1, row, position)
            if row + 1 not in lost:
                yield event
            yield self.stored(row, row + 1)
        yield self.stop()


def disturbed(documents, seed=0, window=64, duplicated=0.1):
    """Return documents with 10 % of events and stream data twice, shuffled within a window."""
    rng = random.Random(seed)
    head = [d for d in documents if d[0] in ("start", "descriptor", "stream_resource")]
    body = [d for d in documents if d[0] in ("event", "stream_datum")]
    body = [copy for d in body for copy in [d] * (2 if rng.random() < duplicated else 1)]
    keys = sorted(range(len(body)), key=lambda i: i + rng.random() * window)
    return [*head, *(body[i] for i in keys), documents[-1]]


@dataclasses.dataclass
class Supplied:
    """What a supply gave: frames by point, verdicts, messages."""

    frames: dict
    rejected: dict
    missing: tuple
    messages: list
    dark_corrected: bool
    dark_uid: str | None


def supply(documents, settings=SETTINGS, store=None, *, greedy=0.2, seed=0):
    """Let a supply take frames after that share of the documents, at random, and after the last; tell what came."""
    rng, messages, frames = random.Random(seed), [], {}
    rest = iter(documents)
    _, start = next(rest)
    plan = small_plan([(0.0, 0.0)]).from_start(start)
    intake = Intake(start, plan)
    made = FrameSupply(intake, settings, store or DarkStore(), messages.append)
    made.set_up()

    def take():
        given = made.take()
        if given is None:
            return False
        for seq_num in given.withdrawn:
            del frames[seq_num]
        batch = given.batch
        for i, seq_num in enumerate(() if batch is None else batch.seq_nums.tolist()):
            frames[seq_num] = (batch.positions_m[i].tobytes(), batch.amplitude[i].tobytes(), batch.mask[i].tobytes())
        return True

    try:
        for name, doc in rest:
            intake(name, doc)
            if rng.random() < greedy:
                take()
        while take():
            pass
        assert intake.problem is None
        return Supplied(
            frames, dict(made.verdicts.rejected), made.missing(), messages, made.dark_corrected, made.dark_uid
        )
    finally:
        made.close()


class Results:
    """Stands for a catalog: keeps the documents of result runs."""

    def __init__(self, directory):
        self.results_dir = directory
        self.documents = []

    def result_writer(self):
        return lambda name, doc: self.documents.append((name, dict(doc)))

    def find_darks(self, uid):
        return None

    def summary(self):
        (stop,) = [doc for name, doc in self.documents if name == "stop"]
        return stop["ptychography"]


def reconstruct(documents, directory, settings=SETTINGS):
    """Reconstruct live; return the outcome and the result run's documents."""
    results = Results(directory)
    with LivePtycho(settings, catalog=results) as live:
        for name, doc in documents:
            live(name, doc)
        return live.wait(120), results
