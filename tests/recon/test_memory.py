"""The estimate against the arrays that a solver really holds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.backend import cpu_count
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.recon.memory import reconstruction_bytes

from .small_problem import GEOMETRY, make_problem


def arrays_of(thing, seen):
    """Yield the arrays that can be reached from `thing`, each memory once."""
    if id(thing) in seen or isinstance(thing, type):
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        owner = thing if thing.base is None or not isinstance(thing.base, np.ndarray) else thing.base
        if owner is thing or id(owner) not in seen:
            seen.add(id(owner))
            yield owner
        return
    parts = list(thing.values()) if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple)) else []
    if type(thing).__module__.startswith("bluesky_ptycho"):
        parts = list(vars(thing).values())
    for part in parts:
        yield from arrays_of(part, seen)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"modes": 3},
        {"algorithm": "raar"},
        {"algorithm": "ml"},
        {"probe_variations": 4, "refine_start": 1},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "default",
)
def test_the_estimate_is_what_a_solver_holds(changes):
    found, estimated = found_and_estimated(changes)
    assert estimated == pytest.approx(found, rel=0.1)


def test_the_estimate_of_a_thick_object_counts_what_is_freed_after_each_batch():
    found, estimated = found_and_estimated({"slices": 2, "slice_distance_m": 1e-6})
    assert found < estimated < 1.25 * found


def found_and_estimated(changes):
    problem, settings = make_problem(), SolverSettings(**{"modes": 1, **changes})
    with problem.solver(**{"modes": 1, **changes}) as solver:
        solver.add(problem.batch())
        solver.step(8)
        solver.step_halves(3)
        held = [solver, solver.snapshot()]
        found = sum(array.nbytes for array in arrays_of(held, set()))
        estimated = reconstruction_bytes(solver.n_frames, solver.canvas.shape, GEOMETRY.shape, settings)
    return found, estimated


def test_weights_are_counted():
    problem = make_problem()
    batch = problem.batch()
    with problem.solver(pixel_weights=True) as solver:
        solver.add(dataclasses.replace(batch, weight=np.ones(GEOMETRY.shape, np.float32)))
        store = solver._state.frames
        plain = reconstruction_bytes(batch.n, solver.canvas.shape, GEOMETRY.shape)
        weighted = reconstruction_bytes(
            batch.n, solver.canvas.shape, GEOMETRY.shape, SolverSettings(pixel_weights=True)
        )
    assert weighted - plain == store.stored_weights.nbytes


def test_more_of_anything_takes_more():
    base = reconstruction_bytes(100, (500, 600), (64, 64), threads=2)
    assert reconstruction_bytes(101, (500, 600), (64, 64), threads=2) == base + 2 * 64 * 64
    assert reconstruction_bytes(100, (500, 600), (64, 64), threads=3) >= base + 12 * 500 * 600
    assert reconstruction_bytes(100, (501, 600), (64, 64), threads=2) == base + 600 * (96 + 24 + 8 + 4 + 20)
    assert reconstruction_bytes(100, (500, 600), (64, 64)) == reconstruction_bytes(
        100, (500, 600), (64, 64), threads=cpu_count()
    )
