"""Make the golden files of the present schema versions: ``python -m tests.golden.make DIRECTORY``.

They are made once for each version and never again: what was stored once must stay readable.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from bluesky_ptycho.callbacks import LivePtycho, LiveSettings
from tests.callbacks.compose import DATASET, ComposedRun
from tests.callbacks.small_data import small_scan
from tests.faults.scene import Results, plain_plan

SETTINGS = LiveSettings(passes=60).with_changes(**{"solver.fit_intensity": True})
PLACE = "/PLACE"
"""Stands in the documents for the directory of the files."""
SIZE, DARKS = 24, 3


class KeepCheckpoint:
    """A sink that copies the checkpoint of the last frame before the end removes it."""

    def __init__(self, directory, target):
        self.directory, self.target = directory, target

    def __call__(self, update):
        if update.kind == "final":
            shutil.copy(self.directory / "checkpoints" / f"{update.start['uid']}.h5", self.target)


def run_documents(directory):
    """Yield the documents of a scan of 25 points with darks, and write its frames."""
    positions_m, frames, *_ = small_scan(n_side=5, step=4, photons=2e4, size=SIZE)
    positions_m = positions_m * 64 / SIZE  # small_scan has the pixel of 64 x 64 patterns
    run = ComposedRun(plain_plan(positions_m, (SIZE, SIZE), n_darks=DARKS), metadata={"sample_name": "golden"})
    yield ("start", run.start)
    dark = np.random.default_rng(0).poisson(10, (DARKS, SIZE, SIZE)).astype(np.uint16)
    for stream, data in (("dark", dark), ("primary", frames + np.uint16(10))):
        run.path = directory / f"{stream}.h5"
        with h5py.File(run.path, "w", libver="latest") as file:
            file.create_dataset(DATASET, data=data, chunks=(1, SIZE, SIZE), compression="gzip", compression_opts=9)
        yield from run.open_stream(stream)
        for row in range(len(data)):
            yield run.event(row + 1, row, positions_m[row] * 1e6 if stream == "primary" else None, stream)
            yield run.stored(row, row + 1, stream)
    yield run.stop()


def write_documents(path, documents, directory):
    """Write `documents` as a catalog keeps those that it did not take."""
    lines = (json.dumps({"name": name, "doc": doc}, separators=(",", ":")) for name, doc in documents)
    path.write_text("".join(line.replace(str(directory), PLACE) + "\n" for line in lines))


def main(target):
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch).resolve()
        documents, results = list(run_documents(directory)), Results(directory)
        with LivePtycho(SETTINGS, catalog=results, sinks=[KeepCheckpoint(directory, target / "checkpoint.h5")]) as live:
            for name, doc in documents[:-1]:
                live(name, doc)
            while not live.progress().iteration:
                time.sleep(0.01)
            live(*documents[-1])
            live.wait(240)
        write_documents(target / "run.jsonl", documents, directory)
        write_documents(target / "result.jsonl", results.documents, directory)
        for path in directory.glob("*.h5"):
            shutil.copy(path, target / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
