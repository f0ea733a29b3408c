"""The faults of the matrix that a composed scan can suffer beside others, each drawn by the mixture's own dice."""

from __future__ import annotations

import sys
import time
from unittest import mock

import numpy as np
import psutil

from bluesky_ptycho.callbacks.child.life import MODULE as CHILD
from bluesky_ptycho.callbacks.frame_reader import FrameReader
from bluesky_ptycho.callbacks.frame_supply import FrameSupply
from bluesky_ptycho.callbacks.frame_verdicts import FrameVerdicts
from bluesky_ptycho.callbacks.joiner import Joiner
from bluesky_ptycho.preprocess.pipeline import Pipeline
from bluesky_ptycho.recon import IncrementalSolver
from bluesky_ptycho.scan_plan import START_KEY

from .mixture import N
from .scene import disturbed
from .test_names import NAMES
from .test_pairing import by_kind

STAGES = [
    (Joiner, "add_point"), (Joiner, "take"), (FrameReader, "read_good"), (FrameSupply, "set_up"),
    (FrameSupply, "stxm"), (FrameReader, "close"), (Pipeline, "__call__"), (FrameVerdicts, "judge"),
    (IncrementalSolver, "__init__"), (IncrementalSolver, "warm_up"), (IncrementalSolver, "add"),
    (IncrementalSolver, "step"), (IncrementalSolver, "snapshot"), (IncrementalSolver, "state"),
    (IncrementalSolver, "close"),
]  # fmt: skip


def rewind(mixture):
    """4: the last few points are taken again."""
    for _ in range(mixture.rng.randint(1, 3)):
        last = mixture.rng.randint(1, len(mixture.points) - 1)
        back = mixture.rng.randint(1, min(5, last))
        mixture.points[last + 1 : last + 1] = mixture.points[last + 1 - back : last + 1]


def other_count(mixture):
    """18: fewer or more points than planned."""
    if mixture.rng.random() < 0.5:
        mixture.planned = mixture.rng.randint(N + 1, 2 * N)
    else:
        mixture.points += range(N, N + mixture.rng.randint(1, N // 2))


def dropped_frames(mixture):
    """1: frames that were never written."""
    mixture.left_out |= mixture.some(mixture.rng.uniform(0.01, 0.2))
    mixture.bad |= mixture.left_out


def lost_positions(mixture):
    """3: events that never come."""
    mixture.lost |= mixture.some(mixture.rng.uniform(0.01, 0.2))


def corrupt_frames(mixture):
    """5: frames that are dark, saturated or damaged."""
    rows = mixture.some(0.1)
    mixture.bad |= rows
    for row in rows:
        how = mixture.rng.choice(["dark", "saturated", "damaged"])
        if how == "damaged":
            mixture.broken.add(row)
        else:
            mixture.frames[row, 1:] = 0 if how == "dark" else 60000


def missing_darks(mixture):
    """6: darks are announced and never come."""
    mixture.plan_fields["n_darks"] = 3


def encoder(mixture):
    """27: an encoder says NaN, a place out of the field, or the same place again and again."""
    how, row = mixture.rng.choice(["NaN", "jump", "stuck"]), mixture.rng.randint(1, N - 4)

    def spoil():
        if how == "stuck":
            rows = [r for r in range(row + 1, row + 3) if mixture.points[r] // 6 == mixture.points[row] // 6]
            mixture.said_um[rows, 1] = mixture.said_um[row, 1]
        else:
            rows = [row]
            mixture.said_um[row] = np.nan if how == "NaN" else 5e3
        mixture.bad.update(rows)

    return spoil


def twice_and_shuffled(mixture):
    """2: a tenth of the documents comes twice, in another order."""
    seed = mixture.rng.random()
    mixture.changes.append(lambda documents: disturbed(documents, seed))


def late_or_early(mixture):
    """3: all positions come before all frames, or after them."""
    order = mixture.rng.sample(["event", "stream_datum"], 2)
    mixture.changes.append(lambda documents: by_kind(documents, *order))


def clocks(mixture):
    """24: clocks that say anything."""
    times = mixture.rng.choices(range(4 * 10**9), k=10_000)
    mixture.changes.append(
        lambda documents: [
            (name, {**doc, "time": float(times[i])} if "time" in doc else doc)
            for i, (name, doc) in enumerate(documents)
        ]
    )


def rubbish(mixture):
    """21: documents of nobody, and some that are none."""
    nonsense = [("event", {}), ("descriptor", {"run_start": "nobody", "uid": "x"}), ("stop", {"run_start": "nobody"})]

    def change(documents):
        documents = list(documents)
        for document in nonsense:
            documents.insert(mixture.rng.randint(1, len(documents) - 1), document)
        return documents

    mixture.changes.append(change)


def wrong_metadata(mixture):
    """17, 31: a descriptor or a scan plan that cannot be."""
    mixture.ends_early = True
    how = mixture.rng.choice(["unit", "shape", "energy", "schema"])
    if how == "unit":
        mixture.descriptor = {"stage_x": {"units": "furlong"}}
    elif how == "shape":
        mixture.descriptor = {"cam_image": {"shape": [1, 17, 16]}}

    def spoil():
        key, value = ("energy_ev", -1.0) if how == "energy" else ("schema_version", 2)
        if how in ("energy", "schema"):
            mixture.scan.start[START_KEY][key] = value

    return spoil


def spoilt_file(mixture):
    """8, 20: the file is cut short, deleted or overwritten with rubbish in mid-scan."""
    how = mixture.rng.choice(["cut", "deleted", "rubbish"])

    def spoil():
        path = mixture.path
        if how == "cut":
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size * 2 // 3)
        elif how == "deleted":
            path.unlink()
        else:
            path.write_bytes(mixture.rng.randbytes(5000))

    mixture.at.append((mixture.rng.random(), spoil))


def outside_the_roots(mixture):
    """34: the frames lie where none may."""
    mixture.ends_early = True
    mixture.settings = mixture.settings.replace(frame_roots=(str(mixture.directory / "elsewhere"),))


def hostile_name(mixture):
    """32: a sample's name that means harm."""
    name = mixture.rng.choice(list(NAMES.values()))
    return lambda: mixture.scan.start.update(sample_name=name)


def ends_badly(mixture):
    """15: the scan is aborted, or its last document never comes."""
    if mixture.rng.random() < 0.5:
        mixture.stop_fields = {"exit_status": "abort", "reason": "the beam is gone"}
        del mixture.points[mixture.rng.randint(N // 2, N) :]
    else:
        mixture.ends_early, mixture.stops = True, False


def interrupted(mixture):
    """28: somebody does not want to wait."""

    def hurry():
        mixture.live.hurry()

    mixture.ends_early = True
    mixture.at.append((mixture.rng.random(), hurry))


def no_place(mixture):
    """11: nothing can be written beside the results."""
    place = mixture.directory / "no_directory"
    place.write_text("a file")
    mixture.catalog.results_dir = place


def catalog_down(mixture):
    """12: the catalog takes the first few documents of the result, and no more."""
    mixture.catalog.n_taken = mixture.rng.randint(0, 6)


def divergence(mixture):
    """13: NaN appears in the object."""
    step, passes = IncrementalSolver.step, [mixture.rng.randint(1, 20)]

    def spoilt(solver, n=1):
        passes[0] -= n
        if passes[0] == 0:
            solver._state.object[:] = np.nan
        return step(solver, n)

    mixture.patches.append(mock.patch.object(IncrementalSolver, "step", spoilt))


def out_of_memory(mixture):
    """19: the solver has no memory left, on the CPU at last."""
    broken_stage(mixture, stages=[(IncrementalSolver, "add"), (IncrementalSolver, "step")], error=MemoryError)


def broken_stage(mixture, stages=STAGES, error=RuntimeError):
    """16: an exception in a stage, at its first call or a later one."""
    mixture.ends_early = True
    owner, name = mixture.rng.choice(stages)
    whole, calls = getattr(owner, name), [mixture.rng.randint(1, 8)]

    def burst(*args, **kwargs):
        calls[0] -= 1
        if calls[0] == 0:
            raise error("the seam burst")
        return whole(*args, **kwargs)

    mixture.patches.append(mock.patch.object(owner, name, burst))


def bad_sinks(mixture):
    """14, 16: sinks that raise, leave, or are far too slow."""

    def raising(update):
        raise OSError("no space left on device")

    mixture.sinks += [raising, lambda update: sys.exit(3), lambda update: time.sleep(0.05)]


def twice_subscribed(mixture):
    """29: the callback gets each document twice."""
    mixture.subscriptions = 2


def killed_solver(mixture):
    """10: the analysis runs in a process of its own, which is killed."""
    if mixture.rng.random() > 0.2:
        return
    mixture.options["process"] = True

    def kill():
        for child in psutil.Process().children():
            if CHILD in child.cmdline():
                child.kill()

    mixture.at.append((mixture.rng.random(), kill))


FAULTS = {
    spoil.__doc__.rstrip("."): spoil
    for spoil in (
        rewind, other_count, ends_badly, dropped_frames, lost_positions, corrupt_frames, missing_darks, encoder,
        twice_and_shuffled, late_or_early, clocks, rubbish, wrong_metadata, spoilt_file, outside_the_roots,
        hostile_name, interrupted, no_place, catalog_down, divergence, out_of_memory, broken_stage, bad_sinks,
        twice_subscribed, killed_solver,
    )
}  # fmt: skip
"""What happens, in the order in which it is prepared → function."""
