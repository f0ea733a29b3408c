"""Row 36: seeded scans that suffer a random mixture of the other rows' faults."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pytest
from bluesky.run_engine import Dispatcher, DocumentNames

from bluesky_ptycho.callbacks import LivePtycho
from bluesky_ptycho.errors import PtychoError

from .faults_of_a_mixture import FAULTS
from .load import resources
from .mixture import Checked, Mixture

PATIENCE_S = 60.0
BOUND = "0 mispaired frames, 0 scans killed, 0 hangs"
SCANS = 300


@dataclass
class Tally:
    """What became of the scans of some seeds; each list names seeds and faults."""

    frames: int = 0
    faults: set = field(default_factory=set)
    mispaired: list = field(default_factory=list)
    killed: list = field(default_factory=list)
    hung: list = field(default_factory=list)
    unexplained: list = field(default_factory=list)

    def run(self, seed, directory):
        """Send the scan of a seed through a live callback and look at what came of it."""
        mixture = Mixture(seed, directory, FAULTS)
        told = (seed, mixture.faults)
        self.faults.update(mixture.faults)
        checked = Checked(mixture)
        with contextlib.ExitStack() as patches:
            for patch in mixture.patches:
                patches.enter_context(patch)
            live = mixture.live = LivePtycho(
                mixture.settings, catalog=mixture.catalog, sinks=[checked, *mixture.sinks], **mixture.options
            )
            if not self._send(mixture, live):
                self.killed.append(told)
            try:
                if mixture.stops:
                    live.wait(PATIENCE_S)
            except TimeoutError:
                self.hung.append(told)
            except PtychoError:  # the analysis failed
                pass
            live.close(PATIENCE_S)
        if resources()["threads"]:
            self.hung.append(told)
        self._judge(mixture, checked, live.outcome(mixture.uid), told)

    def _send(self, mixture, live):
        """Send all documents as a RunEngine does; tell whether everybody else heard them all."""
        dispatcher, heard = Dispatcher(), []
        for _ in range(mixture.subscriptions):
            dispatcher.subscribe(live)
        dispatcher.subscribe(lambda name, doc: heard.append(name))
        documents = mixture.documents()
        with contextlib.suppress(Exception):
            for i, (name, doc) in enumerate(documents):
                for share, act in mixture.at:
                    if i == int(share * len(documents)):
                        act()
                dispatcher.process(DocumentNames[name], doc)
        return heard == [name for name, _ in documents]

    def _judge(self, mixture, checked, outcome, told):
        snapshot = None if outcome is None else outcome.snapshot
        if snapshot is not None and not mixture.ends_early:
            checked.judge(snapshot)
            ends = [set(snapshot.seq_nums.tolist()), set(outcome.update.rejected), set(outcome.update.missing)]
            if sum(map(len, ends)) != len(set.union(*ends)) or max(set.union(*ends)) != len(set.union(*ends)):
                self.unexplained.append((*told, "not every point is used, rejected or missing"))
        if not mixture.ends_early and (outcome is None or outcome.error is not None):
            self.unexplained.append((*told, repr(outcome and outcome.error)))
        self.frames += checked.n_frames
        if checked.wrong:
            self.mispaired.append((*told, checked.wrong))


def blocks():
    for letter, first in zip("abc", range(0, 3 * SCANS, SCANS), strict=True):
        what = f"random mixture of the above, seeds {first} to {first + SCANS - 1}"
        marks = [pytest.mark.slow, pytest.mark.timeout(2400), pytest.mark.fault(f"36{letter}", what, bound=BOUND)]
        yield pytest.param(range(first, first + SCANS), id=f"seeds_{first}", marks=marks)
    # Among these each kind of fault comes at least once.
    sample = pytest.mark.fault("36d", "random mixture of the above, a sample of 20 other seeds", bound=BOUND)
    yield pytest.param(range(5680, 5700), id="sample", marks=[pytest.mark.slow, sample])


def tally_of(seeds, directory):
    tally = Tally()
    for seed in seeds:
        place = directory / str(seed)
        place.mkdir()
        tally.run(seed, place)
    return tally


def assert_unharmed(tally, n_scans):
    assert tally.frames > 10 * n_scans
    assert not tally.mispaired
    assert not tally.killed
    assert not tally.hung
    assert not tally.unexplained


@pytest.mark.parametrize("seeds", list(blocks()))
def test_a_random_mixture(seeds, tmp_path, figure):
    tally = tally_of(seeds, tmp_path)
    figure(
        scans=len(seeds), kinds_of_faults=len(tally.faults), frames=tally.frames, mispaired=len(tally.mispaired),
        killed=len(tally.killed), hangs=len(tally.hung), unexplained=len(tally.unexplained),
    )  # fmt: skip
    assert_unharmed(tally, len(seeds))
    assert tally.faults == set(FAULTS)


@pytest.mark.slow
def test_a_few_random_mixtures(tmp_path):
    assert_unharmed(tally_of(range(5680, 5683), tmp_path), 3)
