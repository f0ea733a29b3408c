from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.metric import evaluate, ring_correlation

WINDOW = 32
POSITIONS = np.array([[30, 34], [110, 96], [64, 120]])


@pytest.fixture(scope="module")
def known() -> np.ndarray:
    rng = np.random.default_rng(2)
    white = np.fft.fft2(rng.normal(size=(180, 190)) + 1j * rng.normal(size=(180, 190)))
    f = np.hypot(np.fft.fftfreq(180)[:, None], np.fft.fftfreq(190)[None, :])
    smooth = np.fft.ifft2(white * np.exp(-((f / 0.1) ** 2)))
    return (1 + 0.3 * smooth / smooth.std()).astype(np.complex64)


@pytest.mark.parametrize(("ramp", "roll", "level"), [(0.0, 0, 0.0), (0.01, 2, 0.05), (-0.02, -5, 0.3)])
def test_figures_equal_the_shared_metric(shared_bench, known, ramp, roll, level):
    rng = np.random.default_rng(3)
    turned = np.roll(known, roll, axis=1) * np.exp(1j * ramp * np.arange(known.shape[0]))[:, None]
    image = (0.6j * turned + level * rng.normal(size=known.shape))[3:, 2:]
    shared = {"N": WINDOW, "pos": POSITIONS, "obj": known}
    expected = shared_bench("metric").evaluate(image, shared, origin=(3, 2))
    ours = evaluate(image, known, POSITIONS, WINDOW, origin=(3, 2))
    assert ours["err"] == pytest.approx(expected["err"], abs=2e-7)
    assert ours["frc50"] == pytest.approx(expected["frc50"])
    np.testing.assert_allclose(ours["shift"], expected["shift"], atol=1e-6)
    np.testing.assert_allclose(ours["ramp"], expected["ramp"], atol=1e-9)


def test_error_of_noise_is_its_relative_norm(known):
    rng = np.random.default_rng(3)
    added = 0.1 * rng.normal(size=known.shape)
    box = np.s_[46:126, 50:136]
    relative = np.linalg.norm(added[box]) / np.linalg.norm(known[box])
    assert evaluate(known + added, known, POSITIONS, WINDOW)["err"] == pytest.approx(relative, rel=0.05)


def test_broken_input_gives_no_figure(known):
    broken = known.copy()
    broken[80, 80] = np.nan
    assert math.isnan(evaluate(broken, known, POSITIONS, WINDOW)["err"])


def test_correlation_of_equal_images_is_one(known):
    np.testing.assert_allclose(ring_correlation(known, known), 1.0, atol=1e-6)
