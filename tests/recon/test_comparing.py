"""Two reconstructions in register, their difference and their correlation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.geometry import Canvas
from bluesky_ptycho.recon.comparing import compare
from tests.snapshots import make_snapshot


def textured(seed=0, **changes):
    """Return a snapshot whose object has detail down to the pixel."""
    base = make_snapshot(n_frames=60)
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((2, *base.canvas.shape)), (0, 1.2, 1.2))
    return dataclasses.replace(base, object=np.exp(field[0] * 0.5 + 1j * field[1]).astype(np.complex64), **changes)


def with_noise(snapshot, sigma, seed):
    noise = np.random.default_rng(seed).normal(0, sigma, (2, *snapshot.object.shape))
    return dataclasses.replace(snapshot, object=(snapshot.object + noise[0] + 1j * noise[1]).astype(np.complex64))


def test_what_ptychography_leaves_open_makes_no_difference():
    first = textured()
    y, x = np.mgrid[: first.canvas.shape[0], : first.canvas.shape[1]]
    turned = (first.object * 3 * np.exp(1j * (0.4 + 0.02 * y - 0.03 * x))).astype(np.complex64)
    found = compare(first, dataclasses.replace(first, object=turned))
    assert found.difference < 1e-3
    np.testing.assert_allclose(found.second, found.first, atol=3e-3)
    assert found.frc["half_bit_m"] == pytest.approx(0.5 / found.frc["frequency_per_m"][-1])


def test_noise_and_a_shift_are_found():
    first = textured()
    moved = dataclasses.replace(first, object=np.roll(first.object, (2, -3), axis=(0, 1)))
    found = compare(first, with_noise(moved, 0.2, 1))
    np.testing.assert_allclose(found.shift_m, (-2 * first.canvas.pixel_m[0], 3 * first.canvas.pixel_m[1]), rtol=0.05)
    power = np.mean(np.abs(found.first) ** 2)
    assert found.difference == pytest.approx(np.sqrt(2 * 0.2**2 / power), rel=0.15)
    assert 2 * first.canvas.pixel_m[0] < 2 * found.frc["half_bit_m"] < 20 * first.canvas.pixel_m[0]


def test_another_grid_of_the_same_field_is_the_same_image():
    first = textured()
    canvas, factor = first.canvas, 1.25
    pixel = (canvas.pixel_m[0] / factor, canvas.pixel_m[1] / factor)
    shape = tuple(int(n * factor) - 4 for n in canvas.shape)
    origin = (canvas.origin_m[0] + 2.4 * pixel[0], canvas.origin_m[1] + 1.3 * pixel[1])
    smooth = ndimage.gaussian_filter(first.object.real, 2) + 1j * ndimage.gaussian_filter(first.object.imag, 2)
    places = np.meshgrid(
        *((origin[a] + pixel[a] * np.arange(shape[a]) - canvas.origin_m[a]) / canvas.pixel_m[a] for a in (0, 1)),
        indexing="ij",
    )
    fine = [ndimage.map_coordinates(part, places, order=3, mode="nearest") for part in (smooth.real, smooth.imag)]
    first = dataclasses.replace(first, object=smooth.astype(np.complex64))
    second = dataclasses.replace(
        first, object=(fine[0] + 1j * fine[1]).astype(np.complex64), canvas=Canvas(shape, origin, pixel, canvas.window)
    )
    assert compare(first, second).difference < 0.02


def test_other_fields_and_holes_are_refused():
    first = textured()
    with pytest.raises(MetadataError, match=r"the scans have 0 × .* pixels in common; expected 16 × 16 or more"):
        compare(first, dataclasses.replace(first, positions_m=first.positions_m + np.array([5e-6, 0])))
    with pytest.raises(MetadataError, match="not finite all over their common field"):
        compare(first, dataclasses.replace(first, object=np.full_like(first.object, np.nan)))
