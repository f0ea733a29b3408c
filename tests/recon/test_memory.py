"""The estimate against the arrays that a solver really holds."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_ptycho.backend import cpu_count
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


@pytest.mark.parametrize("modes", [1, 3])
def test_the_estimate_is_what_a_solver_holds(modes):
    problem = make_problem()
    with problem.solver(modes=modes) as solver:
        solver.add(problem.batch())
        solver.step(8)
        solver.step_halves(3)
        held = [solver, solver.snapshot()]
        found = sum(array.nbytes for array in arrays_of(held, set()))
        estimated = reconstruction_bytes(solver.n_frames, solver.canvas.shape, GEOMETRY.shape, modes=modes)
    assert estimated == pytest.approx(found, rel=0.1)


def test_more_of_anything_takes_more():
    base = reconstruction_bytes(100, (500, 600), (64, 64), threads=2)
    assert reconstruction_bytes(101, (500, 600), (64, 64), threads=2) == base + 2 * 64 * 64
    assert reconstruction_bytes(100, (500, 600), (64, 64), threads=3) >= base + 12 * 500 * 600
    assert reconstruction_bytes(100, (501, 600), (64, 64), threads=2) == base + 600 * (96 + 24 + 8 + 4 + 16)
    assert reconstruction_bytes(100, (500, 600), (64, 64)) == reconstruction_bytes(
        100, (500, 600), (64, 64), threads=cpu_count()
    )
