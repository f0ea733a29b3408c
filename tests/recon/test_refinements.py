"""Each refinement on data that have the flaw it is for."""

import numpy as np
import pytest

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.recon.positions import fitted

from .backends import StrictBackend, UnfusedBackend
from .flawed import Flawed, fourier_shifted
from .small_problem import PIXEL_M, SIZE, make_problem

N = 81
Y, X = np.mgrid[:SIZE, :SIZE] - SIZE // 2


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def jitter(rng):
    shifts = rng.normal(0, 1.0, (N, 2))
    return shifts - shifts.mean(axis=0)


@pytest.fixture(scope="module")
def jittered(jitter):
    return Flawed(shifts=jitter)


def test_refined_positions_are_the_true_ones(jittered, jitter):
    plain, refined = jittered.solve(), jittered.solve(refine_positions=True)
    assert jittered.error(refined) < 0.4 * jittered.error(plain)
    found = refined.snapshot().shifts_m / PIXEL_M
    assert np.std(found - jitter) < 0.2 * np.std(jitter)
    assert plain.snapshot().shifts_m is None


def test_position_bound_is_kept(jittered):
    found = jittered.solve(passes=40, refine_positions=True, position_bound_px=0.5).snapshot().shifts_m / PIXEL_M
    assert np.abs(found).max() <= 0.5 + 1e-9
    assert np.abs(found).max() > 0.4


@pytest.mark.parametrize("model", ["affine", "drift"])
def test_positions_follow_a_model_of_few_parameters(model):
    base = make_problem(photons=None, n_side=9, step=3, seed=1)
    centred = base.corners - base.corners.mean(axis=0)
    order = np.linspace(-1, 1, N)
    shifts = {
        "affine": centred @ np.array([[0.06, 0.04], [-0.05, -0.07]]),
        "drift": np.stack([1.5 * order, 1.2 * order**2], axis=1),
    }[model]
    shifts -= shifts.mean(axis=0)
    data = Flawed(shifts=shifts)
    plain, refined = data.solve(passes=60), data.solve(passes=60, refine_positions=True, position_model=model)
    snapshots = [solver.snapshot(exact_residual=True) for solver in (plain, refined)]
    floor = Flawed().solve(passes=60).snapshot(exact_residual=True).residual
    # A scale and a rotation of all positions are the object's own too: only the data say how well they fit.
    assert snapshots[1].residual - floor < 0.25 * (snapshots[0].residual - floor)
    if model == "drift":
        assert np.std(snapshots[1].shifts_m / PIXEL_M - shifts) < 0.3 * np.std(shifts)
        assert snapshots[1].drift_m[0] / PIXEL_M == pytest.approx(3.0, rel=0.25)


def test_fit_is_least_squares_with_weights():
    basis = np.column_stack([np.ones(4), np.arange(4.0)])
    shift = np.stack([1 + 2 * np.arange(4.0), 3 - np.arange(4.0)], axis=1)
    wrong = shift + np.array([[0, 0], [0, 0], [0, 0], [50, 50]])
    weight = np.array([[1, 1], [1, 1], [1, 1], [1e-12, 1e-12]])
    assert np.allclose(fitted(wrong, weight, basis)[:3], shift[:3], atol=1e-3)


def test_fitted_gains_are_the_true_ones_but_for_a_slope(rng):
    gain = np.clip(1 + 0.15 * rng.standard_normal(N), 0.5, 1.5)
    data = Flawed(gain=gain)
    plain, fit = data.solve(), data.solve(fit_intensity=True)
    assert data.error(fit) < 0.6 * data.error(plain)
    found = fit.snapshot().gain
    assert np.corrcoef(np.log(found), np.log(gain))[0, 1] > 0.9
    assert plain.snapshot().gain is None


def test_fitted_background_is_the_true_one():
    background = 40 * np.exp(-((np.hypot(Y - 4, X + 6) / 9) ** 2)) + 2
    data = Flawed(background=background)
    plain, fit = data.solve(), data.solve(fit_background=True)
    assert data.error(fit) < 0.4 * data.error(plain)
    found = fit.snapshot().background
    assert np.abs(found - background).mean() < 0.35 * background.mean()
    assert found.mean() == pytest.approx(background.mean(), rel=0.15)
    assert found.min() >= 0


def test_probe_that_varies_is_followed():
    variation = 0.55j * np.exp(-((Y - 3) ** 2 + (X + 2) ** 2) / 30) * make_problem().probe
    data = Flawed(probe_of=lambda i, probe: (probe + np.sin(i / 7) * variation)[None])
    plain, modes, follows = data.solve(), data.solve(modes=2), data.solve(probe_variations=2)
    assert data.error(follows) < 0.4 * min(data.error(plain), data.error(modes))
    assert follows.snapshot().variation.shape == (2, SIZE, SIZE)


def test_motion_during_the_exposure_is_taken_up_by_modes():
    def blurred(i, probe):
        return np.stack([fourier_shifted(probe, (0, s)) for s in np.linspace(-2, 2, 9)]) / 3

    data = Flawed(probe_of=blurred)
    plain, follows = data.solve(), data.solve(motion_m=(0.0, 4 * PIXEL_M))
    assert data.error(follows) < 0.4 * data.error(plain)
    assert follows.snapshot().probe.shape[0] == 2


def test_poisson_noise_model_is_better_with_few_photons():
    data = Flawed(photons=1e4)
    gaussian, poisson = (
        data.error(data.solve(passes=60, algorithm="ml", noise=noise)) for noise in ("gaussian", "poisson")
    )
    assert poisson < 0.93 * gaussian


EVERYTHING = {
    "refine_positions": True, "fit_intensity": True, "fit_background": True, "probe_variations": 1, "modes": 2,
    "refine_start": 2, "probe_start": 1,
}  # fmt: skip


@pytest.mark.parametrize("backend", [UnfusedBackend, StrictBackend])
def test_refinements_are_the_same_on_every_backend(jittered, backend):
    found = [
        jittered.solve(passes=4, backend=b, **EVERYTHING).snapshot(exact_residual=True) for b in ("numpy", backend())
    ]
    assert found[1].residual == pytest.approx(found[0].residual, rel=1e-3)
    assert np.allclose(found[1].shifts_m, found[0].shifts_m, atol=0.01 * PIXEL_M)
    assert np.allclose(found[1].gain, found[0].gain, atol=1e-3)
    assert np.allclose(found[1].background, found[0].background, atol=0.02 * found[0].background.max())


def test_refinements_survive_frames_that_come_go_and_are_dark(jittered):
    solver = jittered.base.solver(**EVERYTHING)
    batch = jittered.batch
    for first in range(0, N, 20):
        rows = slice(first, first + 20)
        solver.add(type(batch)(batch.seq_nums[rows], batch.positions_m[rows], batch.amplitude[rows], batch.mask))
        solver.step(2)
    dark = type(batch)(np.array([999]), batch.positions_m[:1], 0 * batch.amplitude[:1], batch.mask)
    solver.add(dark)
    solver.remove([3, 4, 5])
    solver.step(3)
    snapshot = solver.snapshot(frc=True, exact_residual=True)
    for array in (snapshot.object, snapshot.probe, snapshot.shifts_m, snapshot.gain, snapshot.background):
        assert np.isfinite(array).all()


def test_weights_silence_bad_pixels():
    data = Flawed()
    batch, weight = data.batch, np.ones((SIZE, SIZE), np.float32)
    weight[10:13, 5:20] = 0
    damaged = batch.amplitude * (1 + 3 * (1 - weight))
    solver = data.base.solver()
    solver.add(type(batch)(batch.seq_nums, batch.positions_m, damaged, batch.mask, weight))
    solver.step(80)
    assert data.error(solver) < 0.03
    loud = data.base.solver()
    loud.add(type(batch)(batch.seq_nums, batch.positions_m, damaged, batch.mask))
    loud.step(80)
    assert data.error(loud) > 2 * data.error(solver)


def merged_exposures(data, shorter, full):
    """Return the frames of `data` merged: above `full` photons of an exposure `shorter` times as short, whose noise is
    the square root of that larger; and the same with weights."""
    rng, batch, base = np.random.default_rng(0), data.batch, data.base
    windows = np.stack([base.object[r : r + SIZE, c : c + SIZE] for r, c in base.corners])
    waves = np.fft.fftshift(np.fft.fft2(base.probe * np.sqrt(0.3) * windows, norm="ortho"), axes=(1, 2))
    long, short = rng.poisson(np.abs(waves) ** 2), shorter * rng.poisson(np.abs(waves) ** 2 / shorter)
    merged = np.sqrt(np.where(long > full, short, long)).astype(np.float32)
    weight = np.where(long > full, 1 / shorter, 1).astype(np.float32)
    return [Batch(batch.seq_nums, batch.positions_m, merged, batch.mask, each) for each in (None, weight)]


@pytest.mark.parametrize(("shorter", "full", "gain"), [(100, 50, 0.7), (10, 200, 0.95)])
def test_weights_of_merged_exposures_count_each_pixel_by_its_noise(shorter, full, gain):
    data, errors = Flawed(), []
    for batch in merged_exposures(data, shorter, full):
        with data.base.solver(pixel_weights=True) as solver:
            solver.add(batch)
            errors.append([])
            for _ in range(2):
                solver.step(30)
                errors[-1].append(data.error(solver))
    assert all(weighted < gain * plain for plain, weighted in zip(*errors, strict=True))


def test_weights_count_when_refinements_begin_unless_they_are_off():
    data, early, late = Flawed(), [], []
    plain, weighted = merged_exposures(data, 100, 50)
    for batch, weighs in ((plain, True), (weighted, True), (weighted, False)):
        with data.base.solver(refine_start=4, pixel_weights=weighs) as solver:
            solver.add(batch)
            for found in (early, late):
                solver.step(4)
                solver.step_halves(4)
                snapshot = solver.snapshot()
                found.append(np.stack([snapshot.object, snapshot.uncertainty]))

    def alike(a, b):
        return np.allclose(a[0], b[0], atol=1e-4), np.allclose(a[1], b[1], atol=1e-4, equal_nan=True)

    assert alike(early[0], early[1]) == alike(early[0], early[2]) == alike(late[0], late[2]) == (True, True)
    assert alike(late[0], late[1]) == (False, False)


def test_a_weight_of_zero_is_a_mask():
    problem = Flawed()
    batch, good = problem.batch, np.ones((SIZE, SIZE), bool)
    good[10:13, 5:20] = False
    objects = []
    for mask, weight in ((good, None), (batch.mask, good.astype(np.float32))):
        with problem.base.solver() as solver:
            solver.add(Batch(batch.seq_nums, batch.positions_m, batch.amplitude, mask, weight))
            solver.step(5)
            objects.append(solver.snapshot().object)
    assert np.allclose(*objects, atol=1e-4)


@pytest.mark.parametrize(
    "refinement",
    [{"refine_positions": True}, {"fit_intensity": True}, {"fit_background": True}, {"probe_variations": 2}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_pass_that_is_taken_back_teaches_nothing(jittered, refinement):
    solver = jittered.solve(passes=8, refine_start=2, probe_start=1, **refinement)
    before = solver.snapshot(exact_residual=True).residual
    solver._state.object[40, 40] = np.nan
    solver.step(4)
    assert solver.taken_back == 1
    assert solver.snapshot(exact_residual=True).residual < 1.2 * before


def test_what_varies_is_known_of_frames_beyond_the_plan_and_not_of_replaced_ones(jittered):
    solver, batch = jittered.solve(passes=6, probe_variations=1, refine_start=2, probe_start=1), jittered.batch
    coefficients = solver._state.variation.coefficients
    assert coefficients[:N].all()
    solver.add(Batch(batch.seq_nums[:1], batch.positions_m[:1], batch.amplitude[:1], batch.mask))
    assert not coefficients[solver._state.frames.slots()[0]].any()
    solver.add(Batch(batch.seq_nums + 500, batch.positions_m, batch.amplitude, batch.mask))
    assert np.isfinite(solver.snapshot(exact_residual=True).residual)
    solver.step_halves()


@pytest.mark.parametrize(
    "wrong",
    [{"motion_m": (1e-6,)}, {"motion_m": (0, 1e-6, 0)}, {"motion_m": (0, 1e-6), "modes": 1}, {"motion_m": (0.0, 2.0)}],
)
def test_motion_that_could_not_be_followed_is_refused(wrong):
    with pytest.raises(SettingsError, match="motion_m"):
        SolverSettings.from_mapping(wrong)


def test_motion_does_not_take_modes_away():
    probe = make_problem().probe
    given = np.stack([probe, 0.1 * np.roll(probe, 2, 0), 0.1 * np.roll(probe, 2, 1)])
    assert make_problem().solver(probe=given, motion_m=(0.0, PIXEL_M)).settings.modes == 3


def test_as_many_variations_as_frames_do_not_run_away(jittered):
    solver, batch = jittered.base.solver(probe_variations=3, refine_start=0, probe_start=0), jittered.batch
    solver.add(Batch(batch.seq_nums[:3], batch.positions_m[:3], batch.amplitude[:3], batch.mask))
    solver.step(3)
    before = solver.snapshot(exact_residual=True).residual
    solver.step(10)
    assert solver.snapshot(exact_residual=True).residual < before


def test_a_frame_at_the_edge_of_the_canvas_stays_there(jittered):
    solver, batch = jittered.base.solver(refine_positions=True, refine_start=1, probe_start=1), jittered.batch
    solver.add(batch)
    canvas = solver.canvas
    corner = np.subtract(canvas.shape, canvas.window)
    edge = np.asarray(canvas.origin_m) + (corner + SIZE // 2) * PIXEL_M * (1 - 1e-12)
    solver.add(Batch(np.array([900]), edge[None], batch.amplitude[:1], batch.mask))
    solver.step(2)
    assert solver.canvas == canvas
    assert np.abs(solver.snapshot().shifts_m[-1]).max() <= 0.7 * PIXEL_M
