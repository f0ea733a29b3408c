"""First probes, against optics that can be written down."""

import numpy as np
import pytest

from bluesky_ptycho.backend import get_backend
from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Canvas, Geometry
from bluesky_ptycho.recon import IncrementalSolver, SolverSettings
from bluesky_ptycho.recon.probe_guess import (
    add_modes,
    first_probe,
    mean_pattern_probe,
    pupil,
    refine_on_mean,
    zone_plate_probe,
)
from bluesky_ptycho.recon.store import FrameStore
from bluesky_ptycho.scan_plan import Illumination, ScanPlan

GEOMETRY = Geometry(800.0, 0.121, (120e-6, 120e-6), (240, 240))
LIGHT = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=80e-6, defocus_m=12e-6)


def cone_radius_px(light):
    """Half angle of a zone plate is wavelength / (2 outer zone); the detector is `distance` away."""
    angle = GEOMETRY.wavelength_m / (2 * light.outer_zone_m)
    return angle * GEOMETRY.distance_m / GEOMETRY.pixel_m[0]


def test_pupil_is_the_zone_plates_cone_with_the_stops_shadow():
    ring = np.fft.fftshift(pupil(LIGHT, GEOMETRY))
    y, x = np.mgrid[:240, :240] - 120
    r, outer = np.hypot(y, x), cone_radius_px(LIGHT)
    inner = outer * LIGHT.stop_m / LIGHT.diameter_m
    assert (ring[(r > inner + 2) & (r < outer - 2)] > 0.95).all()
    assert (ring[(r < inner - 2) | (r > outer + 2)] < 0.05).all()


def test_defocus_spreads_the_probe_to_the_geometric_shadow():
    """At a distance d from the focus a cone of half angle a lights a ring between d a stop/diameter and d a."""
    light = Illumination(240e-6, 60e-9, 80e-6, defocus_m=20e-6)
    probe = zone_plate_probe(light, GEOMETRY, photons=1e6)
    y, x = np.mgrid[:240, :240] - 120
    r = np.hypot(y, x) * GEOMETRY.object_pixel_m[0]
    edge = light.defocus_m * GEOMETRY.wavelength_m / (2 * light.outer_zone_m)
    intensity = np.abs(probe) ** 2
    assert intensity.sum() == pytest.approx(1e6, rel=1e-4)
    inside = intensity[r < 1.15 * edge].sum() / intensity.sum()
    assert 0.85 < inside < 1
    assert intensity[(r > 0.5 * edge) & (r < 0.9 * edge)].sum() > 0.4 * intensity.sum()
    centre = (intensity * x).sum() / intensity.sum(), (intensity * y).sum() / intensity.sum()
    assert np.allclose(centre, 0, atol=0.05)


def test_positive_defocus_diverges():
    """Downstream of the focus rays go outwards: a patch right of the centre sends its light to +q_x."""
    for defocus, sign in ((12e-6, 1), (-12e-6, -1)):
        light = Illumination(240e-6, 60e-9, 0.0, defocus)
        probe = zone_plate_probe(light, GEOMETRY)
        right = probe * (np.arange(240)[None, :] > 140)
        far = np.abs(np.fft.fftshift(np.fft.fft2(right))) ** 2
        q = (far * (np.arange(240) - 120)[None, :]).sum() / far.sum()
        assert np.sign(q) == sign
        assert abs(q) > 3


def test_refinement_takes_the_measured_amplitude_but_keeps_power_and_phase():
    probe = zone_plate_probe(LIGHT, GEOMETRY, photons=1e5)
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe), norm="ortho"))
    x = np.arange(240)[None, :] - 120
    measured = np.abs(far) * (1 + 0.3 * x / 14)
    refined = refine_on_mean(probe, measured.astype(np.float32), weight=1.0)
    assert (np.abs(refined) ** 2).sum() == pytest.approx(1e5, rel=1e-4)
    got = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(refined), norm="ortho"))
    ring = np.abs(far) > 0.3 * np.abs(far).max()
    scale = np.abs(got[ring]).mean() / measured[ring].mean()
    assert np.allclose(np.abs(got[ring]), scale * measured[ring], rtol=1e-3)
    assert np.allclose(np.angle(got[ring] * far[ring].conj()), 0, atol=1e-3)
    nothing = np.full((240, 240), np.nan, np.float32)
    assert refine_on_mean(probe, nothing) is probe


def test_mean_pattern_alone_warns_and_stays_in_the_window():
    amplitude = np.fft.fftshift(np.sqrt(pupil(LIGHT, GEOMETRY))).astype(np.float32)
    with pytest.warns(UserWarning, match=r"no zone plate in the scan plan.*Illumination"):
        probe = mean_pattern_probe(amplitude, GEOMETRY, photons=1e4)
    intensity = np.abs(probe) ** 2
    assert intensity.sum() == pytest.approx(1e4, rel=1e-4)
    assert intensity[60:180, 60:180].sum() > 0.9e4
    with pytest.warns(UserWarning, match="no zone plate"):
        assert np.isfinite(mean_pattern_probe(np.zeros((240, 240), np.float32), GEOMETRY)).all()


def test_added_modes_are_weak_and_independent_and_surplus_ones_go():
    probe = zone_plate_probe(LIGHT, GEOMETRY, photons=1e6)[None]
    five = add_modes(probe, 5)
    assert (five.shape, five.dtype) == ((5, 240, 240), np.complex64)
    assert np.array_equal(five[0], probe[0])
    powers = (np.abs(five) ** 2).sum(axis=(1, 2))
    assert np.allclose(powers[1:] / powers[0], 0.02, rtol=1e-3)
    flat = five.reshape(5, -1) / np.sqrt(powers)[:, None]
    assert np.linalg.svd(flat, compute_uv=False).min() > 0.3
    assert np.array_equal(add_modes(five, 2), five[:2])
    assert np.isfinite(add_modes(probe, 12)).all()


def plain_plan(**fields):
    positions = np.array([[0.0, 0.0], [0.0, 1e-7]])
    return ScanPlan.from_positions(positions, energy_ev=800.0, distance_m=0.121, **fields)


def frames_like(probe, n=2):
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"))).astype(np.float32)
    positions = np.array([[0.0, 1e-7 * i] for i in range(n)])
    return Batch(np.arange(n), positions, np.stack([amplitude] * n), np.ones(amplitude.shape, bool))


def test_solver_takes_the_plans_zone_plate_and_the_frames_power():
    batch = frames_like(zone_plate_probe(LIGHT, GEOMETRY, photons=3e5))
    solver = IncrementalSolver(plain_plan(illumination=LIGHT), GEOMETRY, SolverSettings(probe_start=100))
    solver.add(batch)
    solver.step()
    probe = solver.snapshot().probe
    assert (np.abs(probe) ** 2).sum() == pytest.approx(3e5, rel=1e-3)
    expected = zone_plate_probe(LIGHT, GEOMETRY, photons=3e5)
    assert np.linalg.norm(probe[0] - expected) < 0.05 * np.linalg.norm(expected)
    assert solver.step() < 1e-3  # the object 1 and this probe explain open-beam frames


def test_guess_follows_the_frames_until_the_probe_is_released():
    dim, bright = (frames_like(zone_plate_probe(LIGHT, GEOMETRY, photons=p), n) for p, n in ((1e4, 1), (4e4, 2)))
    solver = IncrementalSolver(plain_plan(illumination=LIGHT), GEOMETRY, SolverSettings(probe_start=2))
    solver.add(dim)
    solver.step()
    assert (np.abs(solver._state.probe) ** 2).sum() == pytest.approx(1e4, rel=1e-3)
    solver.add(bright)
    solver.step()
    assert (np.abs(solver._state.probe) ** 2).sum() == pytest.approx(4e4, rel=1e-3)


def test_pixels_that_are_never_valid_are_left_to_the_model():
    batch = frames_like(zone_plate_probe(LIGHT, GEOMETRY, photons=3e5))
    mask = np.ones((240, 240), bool)
    mask[:, 118:123] = False
    plan = plain_plan()
    store = FrameStore(2, (240, 240), get_backend("numpy"), subpixel=True)
    store.put(
        Batch(batch.seq_nums, batch.positions_m, batch.amplitude, mask), Canvas.for_extent(plan.extent_m, GEOMETRY)
    )
    probe = first_probe(LIGHT, GEOMETRY, store, store.slots())
    model = zone_plate_probe(LIGHT, GEOMETRY)
    assert np.linalg.norm(probe - model) < 0.1 * np.linalg.norm(model)


@pytest.mark.parametrize("bad", [np.ones((10, 240)), np.zeros((240, 240)), np.full((240, 240), np.nan)])
def test_a_probe_that_cannot_be_used_is_refused(bad):
    with pytest.raises(MetadataError, match=r"probe has shape .*; expected \(modes, 240, 240\)"):
        IncrementalSolver(plain_plan(), GEOMETRY, probe=bad)
