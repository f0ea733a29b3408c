"""The incremental solver against known objects, analytic cases and itself."""

import numpy as np
import pytest

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.recon.halves import SETTLING
from bluesky_ptycho.registry import algorithms
from bluesky_ptycho.scan_plan import ScanPlan

from .backends import BACKENDS, StrictBackend, UnfusedBackend
from .small_problem import GEOMETRY, PIXEL_M, SIZE, make_problem

ALGORITHMS = sorted(algorithms)
PROJECTIONS = ("admm", "dm", "raar")
BOUNDS = dict.fromkeys(ALGORITHMS, 0.03) | dict.fromkeys(PROJECTIONS, 0.1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_truth_stays(clean, algorithm):
    solver = clean.solver(algorithm=algorithm)
    solver.add(clean.batch())
    # The solver sets the probe's power from the frames; the object takes up the difference.
    power = (np.abs(clean.probe) ** 2).sum() / clean.patterns.sum(axis=(1, 2)).mean()
    solver._state.object[clean.on_canvas(solver)] = clean.object * np.sqrt(power)
    solver.step(5)
    assert solver.snapshot(exact_residual=True).residual < 1e-6
    assert clean.error(solver) < 2e-3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_known_object_is_found_from_a_wrong_probe(clean, algorithm):
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    guess = clean.probe * np.exp(-0.01j * (x**2 + y**2)) * (1 + 0.02 * x)
    solver = clean.solver(probe=guess, algorithm=algorithm)
    solver.add(clean.batch())
    assert clean.error(solver) > 0.2
    solver.step(100)
    assert clean.error(solver) < BOUNDS[algorithm]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_hot_pixels_in_the_mask_do_no_harm(clean, algorithm):
    batch, rng = clean.batch(), np.random.default_rng(2)
    mask = rng.random((SIZE, SIZE)) > 0.01
    hot = np.where(mask, batch.amplitude, np.float32(3000)).astype(np.float32)
    solvers = [clean.solver(algorithm=algorithm) for _ in "ab"]
    solvers[0].add(batch)
    solvers[1].add(Batch(batch.seq_nums, batch.positions_m, hot, mask))
    for solver in solvers:
        solver.step(60)
    assert clean.error(solvers[1]) < 1.5 * clean.error(solvers[0]) + 0.02


def moved_stage(noisy, algorithm, far):
    """Return what is made as it is, and with another phase of the probe and the stage elsewhere by `far`."""
    snapshots = []
    for phase, shift in ((1.0, 0.0), (np.exp(2.1j), far)):
        batch = noisy.batch()
        plan = ScanPlan.from_positions(noisy.positions_m + shift, energy_ev=800.0, distance_m=0.1)
        settings = SolverSettings(algorithm=algorithm, probe_start=1)
        solver = IncrementalSolver(plan, GEOMETRY, settings, "numpy", probe=noisy.probe * phase)
        solver.add(Batch(batch.seq_nums, batch.positions_m + shift, batch.amplitude, batch.mask))
        solver.step(4)
        snapshots.append(solver.snapshot(exact_residual=True))
    return snapshots


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_global_phase_of_the_probe_and_a_shift_of_the_stage_change_nothing(noisy, algorithm):
    """Where the stage's origin lies, and the phase of the first probe, are nothing that patterns tell of."""
    a, b = moved_stage(noisy, algorithm, np.array([1083, -500]) * PIXEL_M)
    assert b.residual == pytest.approx(a.residual, rel=2e-3)
    lit = a.coverage > 0.1 * a.coverage.max()
    assert a.object.shape == b.object.shape
    # Subpixel parts of the positions differ in their last digits.
    assert np.abs(a.object[lit] - b.object[lit]).max() < 0.02


def test_a_shift_by_parts_of_a_pixel_finds_the_same_on_pixels_that_lie_as_before(noisy):
    a, b = moved_stage(noisy, "mpie", np.array([1083.5, -500.3]) * PIXEL_M)
    assert b.residual == pytest.approx(a.residual, rel=0.01)
    apart = (np.array(b.canvas.origin_m) - a.canvas.origin_m) / PIXEL_M
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-6)


def assert_alike(a, b):
    """Compare where there is light; elsewhere rounding is divided by nearly nothing."""
    lit = a.coverage > 0.1 * a.coverage.max()
    assert np.allclose(a.object[lit], b.object[lit], atol=2e-3)


@pytest.mark.parametrize("make", BACKENDS)
def test_backends_agree(noisy, make):
    expected = noisy.solver(backend=UnfusedBackend())
    solver = noisy.solver(backend=make())
    for s in (expected, solver):
        s.add(noisy.batch(slice(20)))
        s.step(3)
    a, b = expected.snapshot(exact_residual=True), solver.snapshot(exact_residual=True)
    assert_alike(a, b)
    assert b.residual == pytest.approx(a.residual, rel=1e-3)


@pytest.mark.parametrize("backend", [UnfusedBackend, StrictBackend])
@pytest.mark.parametrize("algorithm", ["raar", "dm", "admm", "lsqml", "ml"])
@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_algorithms_are_the_same_code_on_every_backend(noisy, backend, algorithm, noise):
    solvers = [noisy.solver(algorithm=algorithm, noise=noise, probe_start=1, backend=b) for b in ("numpy", backend())]
    for solver in solvers:
        solver.add(noisy.batch(slice(20)))
        solver.step(3)
    assert_alike(*(solver.snapshot() for solver in solvers))


def test_raars_running_residual_is_that_of_object_and_probe():
    """The waves that its projections meet are reflected ones, and misfit the data in a way of their own."""
    for n_side, tolerance in ((7, 1e-4), (14, 0.1)):  # 49 frames all count, of 196 a part does
        problem = make_problem(photons=1e4, n_side=n_side)
        solver = problem.solver(algorithm="raar")
        solver.add(problem.batch())
        running = solver.step(12)
        assert running == pytest.approx(solver.snapshot(exact_residual=True).residual, rel=tolerance)


def test_wedge_in_the_sample_moves_the_pattern_the_way_its_phase_rises():
    """A prism with phase 2 pi k x / N shifts the far field by k pixels towards +q_x (Fourier shift theorem)."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    probe = np.exp(-(x**2 + y**2) / 40.0) * 300
    open_beam = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"))) ** 2
    corners = np.stack(np.meshgrid(np.arange(0, 20, 4), np.arange(0, 20, 4), indexing="ij"), -1).reshape(-1, 2)
    positions = (corners + SIZE // 2) * PIXEL_M
    plan = make_problem().plan
    for axis, shift in ((1, 2), (0, -3)):
        amplitude = np.sqrt(np.roll(open_beam, shift, axis=axis)).astype(np.float32)
        amplitude = np.broadcast_to(amplitude, (len(corners), SIZE, SIZE))
        solver = IncrementalSolver(plan, GEOMETRY, SolverSettings(probe_start=10_000), probe=probe)
        solver.add(Batch(np.arange(len(corners)), positions, amplitude, np.ones((SIZE, SIZE), bool)))
        solver.step(60)
        found = solver.snapshot().object
        first = np.rint(solver.canvas.corners_px(positions)[0]).astype(int) + SIZE // 2
        found = found[first[0] : first[0] + 16, first[1] : first[1] + 16]
        slopes = [np.angle((np.delete(found, 0, a) * np.delete(found, -1, a).conj()).sum()) for a in (0, 1)]
        assert slopes[axis] == pytest.approx(2 * np.pi * shift / SIZE, abs=0.03)
        assert slopes[1 - axis] == pytest.approx(0, abs=0.03)


def test_equal_seeds_give_equal_bits(noisy):
    images = []
    for _ in range(2):
        solver = noisy.solver(seed=3)
        solver.add(noisy.batch())
        solver.step(4)
        images.append(solver.snapshot().object)
    assert np.array_equal(*images)


def test_a_snapshot_has_correlation_and_uncertainty_of_the_halves_as_they_are(clean):
    with clean.solver() as solver:
        solver.add(clean.batch(range(0, 49, 3)))
        solver.step(2)
        assert solver.snapshot().frc is None
        solver.step_halves()
        first = solver.snapshot()
        assert np.isfinite(first.frc["correlation"]).all()
        box = first.canvas.scanned_box(first.positions_m)
        assert (first.uncertainty[box] > 0).all() and np.isnan(first.uncertainty).any()
        solver.add(clean.batch([n for n in range(49) if n % 3]))
        unmet = solver.snapshot()
        assert unmet.frc is None and unmet.uncertainty is None  # most frames have not been met
        solver.step_halves(2)
        later = solver.snapshot().frc
        assert later["correlation"][2:5].min() > 0.9


def test_frames_that_come_slowly_do_not_spoil_the_final_resolution(noisy):
    """The halves of a solver that waits for frames have all their visits on average, but few of the last frames."""
    with noisy.solver() as solver, noisy.solver() as batch:
        batch.add(noisy.batch())
        batch.step(2)
        for n in range(49):
            solver.add(noisy.batch([n]))
            solver.step()
            while solver.step_halves(0) < solver.settings.frc_passes and n < 48:
                solver.step_halves()
        assert solver.step_halves(0) == solver.settings.frc_passes - SETTLING, "the last frame has no visit yet"
        slow, whole = (s.snapshot(frc=True).frc["correlation"] for s in (solver, batch))
        assert slow.mean() > 0.9 * whole.mean()  # 0.25 of it, were the halves begun with the first frame
        assert solver.step_halves(0) == solver.settings.frc_passes


def test_modes_are_orthogonal_and_sorted_by_power(noisy):
    solver = noisy.solver(modes=3)
    solver.add(noisy.batch())
    solver.step(10)
    modes = solver.snapshot().probe.reshape(3, -1)
    overlap = np.abs(modes.conj() @ modes.T)
    powers = np.diag(overlap)
    assert (np.diff(powers) <= 0).all()
    assert np.abs(overlap - np.diag(powers)).max() < 1e-3 * powers[0]


def test_half_sets_share_no_noise(noisy):
    solver = noisy.solver()
    rng = np.random.default_rng(0)
    batch = noisy.batch()
    # Patterns without structure from frame to frame: nothing but a common probe could correlate the halves.
    amplitude = np.sqrt(rng.poisson(3.0, batch.amplitude.shape)).astype(np.float32)
    solver.add(Batch(batch.seq_nums, batch.positions_m, amplitude, batch.mask))
    solver.step(10)
    frc = solver.snapshot(frc=True).frc
    assert frc is not None
    upper = frc["correlation"][len(frc["correlation"]) // 2 :]
    assert abs(np.mean(upper)) < 0.2


def test_uncertainty_is_the_statistical_error():
    claimed = []
    for photons in (2e5, 2e4):
        problem = make_problem(photons=photons)
        solver = problem.solver(frc_passes=60)
        solver.add(problem.batch())
        solver.step(60)
        assert solver.snapshot().uncertainty is None
        snapshot = solver.snapshot(frc=True)
        box = snapshot.canvas.scanned_box(snapshot.positions_m)
        size = np.sqrt(np.mean(np.abs(snapshot.object[box]) ** 2))
        claimed.append(np.sqrt(np.mean(snapshot.uncertainty[box] ** 2)) / size)
        # What both halves have wrong alike is not in it.
        assert 0.3 * problem.error(solver) < claimed[-1] < 1.5 * problem.error(solver)
        outside = np.ones(snapshot.object.shape, bool)
        outside[box] = False
        assert np.isnan(snapshot.uncertainty[outside]).all()
    assert claimed[1] / claimed[0] == pytest.approx(10**0.5, rel=0.35)


def test_state_and_snapshot_are_single_precision_and_apart(noisy):
    solver = noisy.solver()
    solver.add(noisy.batch())
    solver.step(2)
    snapshot = solver.snapshot()
    assert (snapshot.object.dtype, snapshot.probe.dtype) == (np.complex64, np.complex64)
    kept = snapshot.object.copy()
    solver.step(2)
    assert np.array_equal(snapshot.object, kept)
