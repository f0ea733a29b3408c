"""Scans that suffer several faults at once, drawn by a seed; each knows which row of its file is of which point."""

from __future__ import annotations

import random

import numpy as np

from bluesky_ptycho.errors import PtychoError

from .scene import SETTINGS, Results, Scan, plain_plan

SIDE, SIZE, STEP_M = 6, 16, 5e-8
N = SIDE * SIDE
MOST_ROWS = 4 * N
QUICK = SETTINGS.with_changes(
    passes=2, chunk=8, patience_s=0.2, sink_patience_s=5.0, snapshot_interval_s=0.05, checkpoint_interval_s=0.0,
    **{"solver.tail_passes": 0, "preprocess.saturation": 4000.0},
)  # fmt: skip
SPOT = 300 * (np.hypot(*np.indices((SIZE, SIZE)) - SIZE / 2 + 0.5) < 5)
GRID_M = np.stack(np.divmod(np.arange(2 * N), SIDE), axis=1) * STEP_M


class Catalog(Results):
    """Stands for a catalog that takes `n_taken` documents of results, and no more."""

    def __init__(self, directory):
        super().__init__(directory)
        self.n_taken = float("inf")

    def result_writer(self):
        take = super().result_writer()

        def write(name, doc):
            if len(self.documents) >= self.n_taken:
                raise PtychoError("the catalog is down")
            take(name, doc)

        return write


class Mixture:
    """One scan and what goes wrong in it.

    Parameters
    ----------
    seed : int
    directory : Path
    faults : mapping of str to callable
        Each spoils the mixture before its documents are made, and may return what is to be done after that.

    Attributes
    ----------
    points : list of int
        Point of each row of the file, counted from 0; more than once after a rewind.
    true_um, said_um : ndarray (rows, 2)
        Where each row was taken, and what its event says.
    bad, lost : set of int
        Rows that no image may hold, and those whose event never comes.
    stops : bool
        Whether the last document ever comes.
    ends_early : bool
        Whether the analysis may end before it, or never begin.
    at : list of (float, callable)
        What is to be done when that share of the documents has been sent.
    """

    def __init__(self, seed, directory, faults):
        self.rng, self.directory = random.Random(seed), directory
        self.points, self.planned, self.metadata, self.plan_fields = list(range(N)), N, {}, {}
        self.bad, self.lost, self.left_out, self.broken = set(), set(), set(), set()
        self.settings, self.options, self.sinks, self.catalog = QUICK, {}, [], Catalog(directory)
        self.changes, self.at, self.patches = [], [], []
        self.subscriptions, self.stops, self.ends_early = 1, True, False
        self.descriptor, self.stop_fields = {}, {}
        rng = np.random.default_rng(seed)
        self._noise_um = rng.uniform(-2e-3, 2e-3, (MOST_ROWS, 2))
        self.frames = rng.poisson(SPOT, (MOST_ROWS, SIZE, SIZE)).astype(np.uint16)
        self.frames[:, 0, 0] = np.arange(MOST_ROWS)  # tells the row
        chosen = self.rng.sample(list(faults), self.rng.randint(1, 4))
        self.faults = [name for name in faults if name in chosen]  # in their order: rewinds make rows for the others
        after = [faults[name](self) for name in self.faults]
        self._make()
        for spoil in filter(None, after):
            spoil()

    def _make(self):
        rows = len(self.points)
        plan = plain_plan(GRID_M[: self.planned], (SIZE, SIZE), **self.plan_fields)
        self.scan = Scan(
            plan, self.directory, self.frames[:rows], left_out=self.left_out, broken=self.broken, **self.metadata
        )
        self.uid, self.path = self.scan.start["uid"], self.scan.path
        self.true_um = GRID_M[self.points] * 1e6 + self._noise_um[:rows]
        self.said_um = self.true_um.copy()

    def some(self, share):
        """Return about that share of the rows, one at least."""
        return set(self.rng.sample(range(len(self.points)), max(1, round(share * len(self.points)))))

    def documents(self):
        """Return all documents in the order in which they come, those that come twice as well."""
        scan = self.scan
        documents = [("start", scan.start), *scan.open_stream("primary", **self.descriptor)]
        for row, point in enumerate(self.points):
            event = scan.event(point + 1, row, self.said_um[row])
            documents += [scan.stored(row, row + 1)] if row in self.lost else [event, scan.stored(row, row + 1)]
        documents.append(scan.stop(**self.stop_fields))
        for change in self.changes:
            documents = change(documents)
        return documents if self.stops else documents[:-1]


class Checked:
    """A sink that holds every frame that goes to the solver against its row, point and place."""

    name, wants_frames = "checked", True

    def __init__(self, mixture):
        self._mixture, self.n_frames, self.wrong = mixture, 0, []
        self._row_of = {}

    def __call__(self, update):
        if update.kind != "frames":
            return
        batch, mixture = update.frames, self._mixture
        for seq_num, position_m, amplitude in zip(batch.seq_nums, batch.positions_m, batch.amplitude, strict=True):
            row = round(float(amplitude[0, 0]) ** 2)
            self.n_frames += 1
            self._row_of[int(seq_num)] = row
            if mixture.points[row] + 1 != seq_num or not np.allclose(position_m * 1e6, mixture.said_um[row], atol=1e-6):
                self.wrong.append((int(seq_num), row))

    def judge(self, snapshot):
        """Look at what the final image is made of: rows that were spoilt, or taken again later, must not be in it."""
        mixture = self._mixture
        kept = [row for row in range(len(mixture.points)) if row not in mixture.lost]
        newest = {mixture.points[row] + 1: row for row in kept}
        for seq_num, position_m in zip(snapshot.seq_nums.tolist(), snapshot.positions_m, strict=True):
            row = self._row_of.get(seq_num)
            stale = row != newest.get(seq_num)
            if row is None or stale or row in mixture.bad or not np.allclose(position_m * 1e6, mixture.true_um[row]):
                self.wrong.append((seq_num, row))
