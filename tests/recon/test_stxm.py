from __future__ import annotations

import time

import numpy as np
import pytest

from bluesky_ptycho.geometry import Canvas, Geometry
from bluesky_ptycho.recon.stxm import stxm_map

GEOMETRY = Geometry(800.0, 0.121, (120e-6, 120e-6), (240, 240))


def spiral(n: int, step_m: float) -> np.ndarray:
    k = np.arange(n)
    radius, angle = step_m * np.sqrt(k / np.pi), k * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1) + np.array([3e-6, -2e-6])


def canvas_of(positions: np.ndarray) -> Canvas:
    low, high = positions.min(axis=0), positions.max(axis=0)
    return Canvas.for_extent((low[0], high[0], low[1], high[1]), GEOMETRY)


def test_map_follows_the_stage():
    """Transmission that falls with x and rises with y: brighter rows up, darker columns to the right."""
    positions = spiral(400, 80e-9)
    canvas = canvas_of(positions)
    y, x = canvas.coordinates_m()
    centre = positions.mean(axis=0)
    wanted = 5 + 1e6 * (y[:, None] - centre[0]) - 2e6 * (x[None, :] - centre[1])
    totals = 5 + 1e6 * (positions[:, 0] - centre[0]) - 2e6 * (positions[:, 1] - centre[1])
    image = stxm_map(positions, totals, canvas)
    known = np.isfinite(image)
    rows, cols = canvas.scanned_box(positions)
    inner = np.zeros_like(known)
    quarter = (rows.stop - rows.start) // 4
    inner[rows.start + quarter : rows.stop - quarter, cols.start + quarter : cols.stop - quarter] = True
    assert known[inner].all()
    error = np.abs(image - wanted / totals.max())[inner]
    assert error.max() < 0.05
    assert image.dtype == np.float32


def test_only_the_scanned_region_is_known():
    positions = spiral(100, 80e-9)
    canvas = canvas_of(positions)
    image = stxm_map(positions, np.ones(100), canvas)
    y, x = canvas.coordinates_m()
    distance = np.hypot(y[:, None] - 3e-6, x[None, :] + 2e-6)
    radius = np.hypot(*(positions - np.array([3e-6, -2e-6])).T).max()
    assert np.isfinite(image[distance < radius - 80e-9]).all()
    assert np.isnan(image[distance > radius + 160e-9]).all()
    np.testing.assert_allclose(image[np.isfinite(image)], 1.0, rtol=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_the_first_points_of_a_raster_make_a_map(n):
    positions = np.stack([np.zeros(n), np.arange(n) * 1e-7], axis=1)
    canvas = Canvas.for_extent((0, 2e-6, 0, 2e-6), GEOMETRY)
    image = stxm_map(positions, np.full(n, 3.0), canvas)
    assert np.isfinite(image).any() == (n > 0)


def test_values_that_are_no_numbers_are_left_out():
    positions = spiral(50, 80e-9)
    totals = np.full(50, 2.0)
    totals[10] = np.nan
    image = stxm_map(positions, totals, canvas_of(positions))
    np.testing.assert_allclose(image[np.isfinite(image)], 1.0, rtol=1e-4)
    assert np.isnan(stxm_map(positions, np.zeros(50), canvas_of(positions))).all()


def test_the_map_of_400_points_is_quick():
    positions = spiral(400, 115e-9)
    canvas = canvas_of(positions)
    assert min(canvas.shape) > 550
    seconds = []
    for _ in range(5):
        start = time.process_time()
        stxm_map(positions, np.ones(400), canvas)
        seconds.append(time.process_time() - start)
    # 30 ms of a processor; the margin is for slower ones.
    assert min(seconds) < 0.1
