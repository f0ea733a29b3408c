"""The zone plate's wave."""

import dataclasses

import numpy as np
import pytest

from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.geometry import ENERGY_TIMES_WAVELENGTH_EV_M
from bluesky_ptycho.sim.probe import DEFAULT_ILLUMINATION, MAX_DEFOCUS_M, zone_plate_probe

WAVELENGTH = ENERGY_TIMES_WAVELENGTH_EV_M / 800
PIXEL = (6.5e-9, 6.5e-9)


def probe(shape: tuple[int, int] = (480, 480), **changes: float) -> np.ndarray:
    return zone_plate_probe(shape, PIXEL, WAVELENGTH, dataclasses.replace(DEFAULT_ILLUMINATION, **changes))


@pytest.mark.parametrize("defocus_m", [0.0, DEFAULT_ILLUMINATION.defocus_m, MAX_DEFOCUS_M])
def test_the_probe_has_unit_power_and_fits_the_solvers_window(defocus_m: float) -> None:
    power = np.abs(probe(defocus_m=defocus_m)) ** 2
    assert power.sum() == pytest.approx(1, rel=1e-5)
    assert power[120:360, 120:360].sum() > 0.99


def test_it_is_centred_on_the_beam_axis() -> None:
    power = np.abs(probe()) ** 2
    index = np.arange(480) - 240
    assert abs((power.sum(axis=1) * index).sum()) < 1e-3
    assert abs((power.sum(axis=0) * index).sum()) < 1e-3


def test_the_focus_has_the_size_of_an_airy_spot() -> None:
    """The first zero of an open circular pupil lies at 1.22 times the outermost zone width."""
    profile = np.abs(probe(defocus_m=0.0, stop_m=0.0))[240, 240:]
    first_zero = int(np.argmax(np.diff(profile) > 0)) * PIXEL[1]
    assert first_zero == pytest.approx(1.22 * DEFAULT_ILLUMINATION.outer_zone_m, rel=0.15)


def test_defocus_spreads_the_light_as_geometry_says() -> None:
    """At defocus d the cone of a lens of numerical aperture lambda / 2 dr has the radius d * NA."""
    power = np.abs(probe(defocus_m=20e-6)) ** 2
    y, x = np.indices(power.shape) - 240
    rms = np.sqrt((power * (y**2 + x**2)).sum()) * PIXEL[0]
    radius = 20e-6 * WAVELENGTH / (2 * DEFAULT_ILLUMINATION.outer_zone_m)
    inner = radius * DEFAULT_ILLUMINATION.stop_m / DEFAULT_ILLUMINATION.diameter_m
    assert rms == pytest.approx(np.sqrt((radius**2 + inner**2) / 2), rel=0.15)  # of a uniform ring


def test_the_far_field_is_an_annulus() -> None:
    far = np.fft.fftshift(np.abs(np.fft.fft2(probe())) ** 2)
    step = 1 / (480 * PIXEL[0])
    y, x = np.indices(far.shape) - 240
    q = np.hypot(y, x) * step * 2 * DEFAULT_ILLUMINATION.outer_zone_m  # 1 at the zone plate's edge
    assert far[(q > 0.45) & (q < 0.85)].min() > 0.9 * far.max()
    assert far[(q < 0.2) | (q > 1.15)].max() < 1e-3 * far.max()


@pytest.mark.parametrize("changes", [{"defocus_m": 50e-6}, {"stop_m": 240e-6}, {"stop_m": -1e-6}])
def test_impossible_zone_plates_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(changes))):
        probe((64, 64), **changes)
