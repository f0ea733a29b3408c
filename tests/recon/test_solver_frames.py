"""Frames that come in any order, go, move the canvas or are not what they should be."""

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError, NotFoundError
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.registry import algorithms
from bluesky_ptycho.scan_plan import ScanPlan

from .small_problem import GEOMETRY, PIXEL_M, SIZE, make_problem

ALGORITHMS = sorted(algorithms)


@pytest.mark.parametrize("algorithm", ["mpie:20,lsqml", *ALGORITHMS])
def test_order_chunks_and_duplicates_of_frames_do_not_matter(noisy, algorithm):
    whole, bits = noisy.solver(algorithm=algorithm), noisy.solver(algorithm=algorithm)
    whole.add(noisy.batch())
    order = np.random.default_rng(1).permutation(len(noisy.corners))
    for i in order:
        bits.add(noisy.batch([int(i)]))
    bits.add(noisy.batch([3, 4, 5]))
    whole.step(10)
    bits.step(10)
    a, b = whole.snapshot(), bits.snapshot()
    assert np.array_equal(a.seq_nums, b.seq_nums)
    assert np.linalg.norm(a.object - b.object) / np.linalg.norm(a.object) < 0.05


def test_order_chunks_and_duplicates_do_not_matter_while_passes_are_made():
    """Equal errors: what is left is each way's own noise, of 1 to 3 %."""
    problem, errors = make_problem(photons=2e5, n_side=9), []
    n = len(problem.corners)
    for seed, chunk, again in ((None, 7, 0), (0, 1, 0), (1, 7, 0), (2, 30, 0), (3, n, 0), (4, 7, 5)):
        order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
        with problem.solver() as solver:
            for first in range(0, n, chunk):
                solver.add(problem.batch(order[max(0, first - again) : first + chunk]))
                solver.step(1)
            solver.step(40)
            solver.finish()
            errors.append(problem.error(solver))
    assert max(errors) < 1.05 * min(errors)


@pytest.mark.parametrize("algorithm", ["mpie:20,lsqml", "mpie", "rpie", "epie", "lsqml"])
def test_no_step_is_larger_as_frames_came_in_a_burst(algorithm):
    """Steps of what was known of the object before, as three quarters of the frames come at once and by and by."""
    problem = make_problem(photons=2e5, n_side=14)
    n, first = len(problem.corners), len(problem.corners) // 4
    largest = []
    for chunk in (n - first, 13):
        with problem.solver(algorithm=algorithm) as solver:
            solver.add(problem.batch(slice(0, first)))
            solver.step(15)
            steps = watch_steps(solver, solver.canvas.scanned_box(problem.positions_m[: first - 14]))
            for i in range(first, n, chunk):
                solver.add(problem.batch(slice(i, i + chunk)))
                solver.step(1)
            solver.step(3)
        largest.append(max(steps))
    assert largest[0] < 1.2 * largest[1]


def watch_steps(solver, box):
    """Return a list that grows by how far each step takes the object within `box`, relative to itself."""
    steps, advance = [], solver._engine.advance

    def watched(state, *given):
        before = np.array(state.object[box])
        advance(state, *given)
        steps.append(np.linalg.norm(state.object[box] - before) / np.linalg.norm(before))

    solver._engine.advance = watched
    return steps


def test_frames_that_come_one_by_one_end_at_the_batch_result(noisy):
    batch, stream = noisy.solver(), noisy.solver()
    batch.add(noisy.batch())
    batch.step(40)
    for i in range(len(noisy.corners)):
        stream.add(noisy.batch([i]))
        stream.step(1)
    stream.step(20)
    assert noisy.error(stream) < 1.15 * noisy.error(batch)


def test_last_rows_of_a_raster_scan_do_not_lag_behind(monkeypatch):
    """One pass over all frames after each row: without visits of its own the last row has had no more than that one."""
    problem = make_problem(photons=2e5, n_side=14)
    errors = []
    for introduced in (True, False):
        if not introduced:
            monkeypatch.setattr("bluesky_ptycho.recon.solver.introduce", lambda *arguments: None)
        stream = problem.solver()
        for first in range(0, len(problem.corners), 14):
            stream.add(problem.batch(slice(first, first + 14)))
            stream.step(1)
        errors.append(problem.error(stream))
    assert errors[0] < 0.8 * errors[1]


def test_only_frames_that_show_something_new_get_visits_of_their_own(noisy, monkeypatch):
    introduced = []
    monkeypatch.setattr(
        "bluesky_ptycho.recon.solver.introduce", lambda state, engine, slots, settings: introduced.append(len(slots))
    )
    n = len(noisy.corners)
    side = round(n**0.5)
    rows = np.arange(n).reshape(side, side)
    for first, then, expected in (
        (rows[: side // 2], rows[side // 2 : side // 2 + 1], side),  # the next row
        (np.delete(rows, n // 2), rows[side // 2, side // 2], 0),  # a point between others
    ):
        stream = noisy.solver()
        for part in (first, then):
            stream.add(noisy.batch(np.ravel(part)))
            stream.step()
        assert introduced[-2:] == [0, expected]


def test_removed_frame_leaves_no_trace_and_replaced_one_counts_once(noisy):
    without, removed = noisy.solver(), noisy.solver()
    n = len(noisy.corners)
    without.add(noisy.batch(slice(0, n - 1)))
    removed.add(noisy.batch())
    removed.remove([n])
    replaced = noisy.solver()
    wrong = noisy.batch([2])
    garbage = Batch(wrong.seq_nums, wrong.positions_m, np.full_like(wrong.amplitude, 30), wrong.mask)
    replaced.add(garbage)
    replaced.add(noisy.batch(slice(0, n - 1)))
    for solver in (without, removed, replaced):
        assert solver.n_frames == n - 1
        solver.step(8)
    reference = without.snapshot(exact_residual=True)
    for solver in (removed, replaced):
        other = solver.snapshot(exact_residual=True)
        assert np.array_equal(other.seq_nums, reference.seq_nums)
        assert other.residual == pytest.approx(reference.residual, rel=0.05)


@pytest.mark.parametrize("algorithm", ["mpie:20,lsqml", *ALGORITHMS])
def test_frames_that_were_solved_with_leave_no_trace_when_they_go(noisy, algorithm):
    """Photons without structure, fewer than a frame has, spoil the image while they are there."""
    batch = noisy.batch()
    amplitude = np.sqrt(np.random.default_rng(0).poisson(30, (3, SIZE, SIZE))).astype(np.float32)
    wrong = Batch(np.array([900, 901, 902]), noisy.positions_m[[10, 24, 30]], amplitude, batch.mask)
    with noisy.solver(algorithm=algorithm) as without, noisy.solver(algorithm=algorithm) as removed:
        for solver in (without, removed):
            solver.add(batch)
        removed.add(wrong)
        for solver in (without, removed):
            solver.step(20)
        assert noisy.error(removed) > 2 * noisy.error(without)
        removed.remove(wrong.seq_nums)
        for solver in (without, removed):
            solver.step(40)
        assert noisy.error(removed) < 1.3 * noisy.error(without)
        assert removed.snapshot(exact_residual=True).residual < 1.15 * without.snapshot(exact_residual=True).residual


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_frame_one_frame_and_dark_frames_stay_finite(clean, algorithm):
    solver = clean.solver(algorithm=algorithm)
    assert np.isnan(solver.step(2))
    assert np.isfinite(solver.snapshot(frc=True).object).all()
    solver.add(
        Batch(np.array([7]), clean.positions_m[:1], np.zeros((1, SIZE, SIZE), np.float32), np.ones((SIZE, SIZE), bool))
    )
    solver.step(2)
    assert np.isfinite(solver.snapshot(frc=True, exact_residual=True).object).all()
    solver.add(clean.batch([0]))
    solver.step(5)
    snapshot = solver.snapshot(frc=True, exact_residual=True)
    assert np.isfinite(snapshot.object).all()
    assert np.isfinite(snapshot.residual)
    assert snapshot.frc is None


def test_masked_pixels_do_not_count(clean):
    batch = clean.batch()
    mask = np.ones((SIZE, SIZE), bool)
    mask[3:6, 10:20] = False
    damaged = batch.amplitude.copy()
    damaged[:, ~mask] = 1e4
    solver = clean.solver()
    solver.add(Batch(batch.seq_nums, batch.positions_m, damaged, mask))
    solver.step(60)
    assert clean.error(solver) < 0.05


def test_canvas_grows_when_a_frame_leaves_the_plan(clean):
    solver = clean.solver()
    solver.add(clean.batch())
    solver.step(3)
    before = solver.snapshot()
    far = clean.positions_m[:1] + np.array([[0.0, 60 * PIXEL_M]])
    solver.add(Batch(np.array([999]), far, clean.batch([0]).amplitude, np.ones((SIZE, SIZE), bool)))
    after = solver.snapshot()
    assert after.canvas.contains(far).all()
    shift = np.rint((np.array(before.canvas.origin_m) - np.array(after.canvas.origin_m)) / PIXEL_M).astype(int)
    rows, cols = before.object.shape
    assert np.array_equal(after.object[shift[0] : shift[0] + rows, shift[1] : shift[1] + cols], before.object)


def test_a_wild_position_is_refused_before_it_takes_all_memory(clean):
    solver = clean.solver()
    solver.add(clean.batch())
    wild = Batch(np.array([500]), clean.positions_m[:1] + 1e-3, clean.batch([0]).amplitude, np.ones((SIZE, SIZE), bool))
    with pytest.raises(MetadataError, match=r"positions_m holds \(0\.001.* expected positions within"):
        solver.add(wild)
    assert solver.n_frames == len(clean.corners)


def test_what_is_newly_lit_continues_what_is_known(clean):
    """An object of constant transmission 0.5 goes on as such where frames light it for the first time."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    probe = np.exp(-(x**2 + y**2) / 40.0) * 300
    amplitude = 0.5 * np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho")))
    columns = np.arange(0, 60, 4)
    corners = np.array([(r, c) for c in columns for r in (0, 4, 8)])
    positions = (corners + SIZE // 2) * PIXEL_M
    plan = ScanPlan.from_positions(positions, energy_ev=800.0, distance_m=0.1)
    mask = np.ones((SIZE, SIZE), bool)

    def frames(which):
        n = len(which)
        return Batch(which, positions[which], np.broadcast_to(amplitude, (n, SIZE, SIZE)).astype(np.float32), mask)

    solver = IncrementalSolver(plan, GEOMETRY, SolverSettings(probe_start=0), "numpy", probe=probe)
    half = len(positions) // 2
    solver.add(frames(np.arange(half)))
    solver.step(20)
    known = solver.snapshot()
    level = np.median(np.abs(known.object[known.coverage > 0.3 * known.coverage.max()]))
    solver.add(frames(np.arange(half, len(positions))))
    fill = solver._fresh.fill
    fill(solver._state, solver._state.frames.slots(lit=True))
    image = solver.snapshot()
    new = (image.coverage > 0.3 * image.coverage.max()) & (known.coverage < 1e-3 * known.coverage.max())
    assert new.sum() > 100
    assert np.abs(known.object[new]) == pytest.approx(1.0, abs=0.05)  # it was the start's
    assert np.median(np.abs(image.object[new])) == pytest.approx(level, rel=0.1)


def test_bad_input_is_refused_by_name(clean):
    with pytest.raises(
        NotFoundError, match="algorithm 'magic' is not known; known: admm, dm, epie, lsqml, ml, mpie, raar, rpie"
    ):
        clean.solver(algorithm="magic")
    solver = clean.solver()
    with pytest.raises(MetadataError, match=r"amplitude has shape \(1, 8, 8\)"):
        solver.add(Batch(np.array([1]), clean.positions_m[:1], np.zeros((1, 8, 8), np.float32), np.ones((8, 8), bool)))
    with pytest.raises(MetadataError, match="all finite"):
        bad = np.array([[np.inf, 0.0]])
        solver.add(Batch(np.array([1]), bad, np.ones((1, SIZE, SIZE), np.float32), np.ones((SIZE, SIZE), bool)))
    frame, ones = np.ones((1, SIZE, SIZE), np.float32), np.ones((SIZE, SIZE), bool)
    for name, mask, weight in (("mask", ones[:3], None), ("weight", ones, np.ones((3, 3), np.float32))):
        with pytest.raises(MetadataError, match=rf"{name} has shape \(3, "):
            solver.add(Batch(np.array([1]), clean.positions_m[:1], frame, mask, weight))
    for wrong in (np.nan, -0.5):
        with pytest.raises(MetadataError, match=r"Batch.weight holds values from .*; expected 0 to 1, all finite"):
            solver.add(Batch(np.array([1]), clean.positions_m[:1], frame, ones, np.full((SIZE, SIZE), wrong)))
    assert solver.n_frames == 0
