"""What is imposed on object and probe, by itself and in a reconstruction."""

import numpy as np
import pytest

from bluesky_ptycho.backend import Backend
from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.recon import SolverSettings
from bluesky_ptycho.recon.constraints import Constraints, bound_phase, denoise_tv, disc, pupil_mask, within_pupil

from .flawed import Flawed
from .small_problem import SIZE, make_problem


def total_variation(image):
    down, right = np.diff(image, axis=0)[:, :-1], np.diff(image, axis=1)[:-1]
    return np.sqrt(np.abs(down) ** 2 + np.abs(right) ** 2).sum()


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_tv_keeps_edges_and_the_mean_and_takes_noise(rng):
    steps = np.zeros((40, 40), complex)
    steps[:, 20:] = 1j
    noisy = steps + 0.1 * (rng.standard_normal(steps.shape) + 1j * rng.standard_normal(steps.shape))
    smooth = denoise_tv(np, noisy.astype(np.complex64), 0.15)
    assert smooth.dtype == np.complex64
    assert np.abs(smooth - steps).std() < 0.6 * np.abs(noisy - steps).std()
    assert smooth.mean() == pytest.approx(noisy.mean(), abs=1e-4)
    assert total_variation(smooth) < 0.6 * total_variation(noisy)
    assert abs(smooth[20, 22] - smooth[20, 17]) > 0.6  # the edge


def test_tv_lowers_its_own_objective(rng):
    image = (rng.standard_normal((20, 24)) + 1j * rng.standard_normal((20, 24))).astype(np.complex64)
    weight = 0.1

    def objective(u):
        return 0.5 * (np.abs(u - image) ** 2).sum() + weight * total_variation(u)

    assert objective(denoise_tv(np, image, weight)) < objective(image)


def test_phase_bound_keeps_moduli_and_what_is_within():
    image = np.array([[2 * np.exp(0.4j), 3 * np.exp(2.0j), np.exp(-2.5j)]]).astype(np.complex64)
    bounded = bound_phase(np, image, 1.0)
    assert np.allclose(np.abs(bounded), np.abs(image), atol=1e-6)
    assert np.allclose(np.angle(bounded), [[0.4, 1.0, -1.0]], atol=1e-6)


def test_disc_is_centred_where_the_beam_axis_is():
    mask = disc((20, 30), 0.5).real
    y, x = np.mgrid[:20, :30]
    assert (mask * (y - 10)).sum() / mask.sum() == pytest.approx(0, abs=1e-6)
    assert (mask * (x - 15)).sum() / mask.sum() == pytest.approx(0, abs=1e-6)
    assert mask[10, 15] == 1
    assert mask[10, 0] == mask[0, 15] == 0


def test_pupil_filters_a_probe_about_its_own_centre():
    """A probe whose spectrum lies inside the pupil stays; a plane wave outside it vanishes."""
    y, x = np.mgrid[:32, :32] - 16
    inside = np.exp(-(x**2 + y**2) / 30.0)
    outside = inside * np.exp(2j * np.pi * 10 * x / 32)
    q = np.hypot(*(np.mgrid[:32, :32] - 16))
    pupil = pupil_mask(np.where(q < 6, 1.0, 0.0).astype(np.float32), 0.1)
    kept = within_pupil(Backend(), (inside + outside)[None].astype(np.complex64), pupil)[0]
    assert np.abs(kept - inside).max() < 0.05


@pytest.mark.parametrize(
    "settings",
    [
        {"object_max_amplitude": 1.0},
        {"object_max_phase": 1.0},
        {"probe_support": 0.7},
        {"probe_pupil_threshold": 0.05},
        {"object_tv": 0.01},
    ],
)
def test_constraints_hold_at_the_end_and_do_no_harm_where_they_are_true(settings):
    data = Flawed(photons=3e4)
    free, bound = data.solve(passes=30), data.solve(passes=30, **settings)
    snapshot = bound.snapshot()
    if "object_max_amplitude" in settings:
        assert np.abs(snapshot.object).max() <= 1 + 1e-5
        return  # this object reaches 1, its noise more
    if "object_max_phase" in settings:
        assert np.abs(np.angle(snapshot.object)).max() <= 1 + 1e-5
        return  # a bound below the object's phases, to see that it holds
    if "probe_support" in settings:
        assert np.abs(snapshot.probe[0, 0]).max() == 0
    assert data.error(bound) < 1.1 * data.error(free)


def test_tv_helps_an_object_of_flat_pieces():
    def flat(image):
        level = image.real + image.imag
        return np.where(level > np.median(level), 0.9, 0.5 * np.exp(0.8j))

    data = Flawed(photons=3000, change=flat)
    assert data.error(data.solve(passes=60, object_tv=0.2)) < 0.96 * data.error(data.solve(passes=60))


def test_amplitude_bound_helps_a_pure_phase_object():
    data = Flawed(photons=1000, change=lambda image: image / np.abs(image))
    assert data.error(data.solve(passes=60, object_max_amplitude=1.0)) < 0.9 * data.error(data.solve(passes=60))


def test_phase_bound_keeps_a_weak_object_free_of_vortices(rng):
    """A first probe of random phases may put vortices into the object, from which it does not come free."""
    data = Flawed(photons=3e4, change=lambda image: np.abs(image) * np.exp(0.2j * np.angle(image)))
    free, bound = [], []
    for _ in range(5):
        first = (data.base.probe * np.exp(6j * rng.random((SIZE, SIZE)))).astype(np.complex64)
        free.append(data.error(data.solve(passes=40, probe=first)))
        bound.append(data.error(data.solve(passes=40, probe=first, object_max_phase=0.3)))
    assert max(free) > 0.4
    assert max(bound) < 0.15


def test_support_keeps_what_is_no_beam_out_of_the_probe(rng):
    """Hot pixels that no mask knows are waves that fill the window."""
    hot = np.zeros((SIZE, SIZE))
    hot[tuple(rng.integers(0, SIZE, (2, 12)))] = 300
    data = Flawed(photons=3e4, background=hot)
    assert data.error(data.solve(passes=60, probe_support=0.7)) < 0.95 * data.error(data.solve(passes=60))


def test_pupil_ends_the_ambiguity_of_a_regular_grid():
    """Object and probe may share a factor that repeats with the grid's step; its copies lie outside the pupil."""
    step = 4
    problem = make_problem(photons=1e5, step=step, jitter=0)
    x = np.arange(SIZE)
    first = (problem.probe * (1 + 0.5 * np.cos(2 * np.pi * x / step))).astype(np.complex64)
    errors = []
    for settings in ({}, {"probe_pupil_threshold": 0.1}):
        with problem.solver(probe=first, **settings) as solver:
            solver.add(problem.batch())
            solver.step(60)
            errors.append(problem.error(solver))
    assert errors[1] < 0.2 * errors[0]


def test_constraints_are_off_by_default():
    solver = Flawed(photons=3e4).solve(passes=2)
    assert np.abs(solver.snapshot().probe).min() > 0
    assert solver.snapshot().probe.shape[-1] == SIZE


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"probe_support": 0.0}, "probe_support is 0"),
        ({"object_max_amplitude": 0.0}, "object_max_amplitude is 0"),
        ({"step": 0.0}, "step is 0"),
        ({"slice_distance_m": 1e-6}, "slice_distance_m is 1e-06 with one slice"),
        ({"fit_background": True, "algorithm": "mpie:3,dm"}, "other than dm"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(changes, named):
    with pytest.raises(SettingsError, match=named):
        SolverSettings.from_mapping(changes)


def test_pupil_in_the_near_field_is_refused():
    with pytest.raises(SettingsError, match="near field"):
        Constraints(SolverSettings(probe_pupil_threshold=0.1), far_field=False)
    Constraints(SolverSettings(probe_support=0.9), far_field=False)
