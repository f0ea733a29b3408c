"""Photon counts follow Poisson's law."""

import numpy as np
import pytest
from scipy import stats

from bluesky_ptycho.sim.sampling import poisson_of_field

N = 400


def draw(mean: float, seed: int) -> np.ndarray:
    field = np.full((N, N), np.sqrt(mean / 2) * (0.6 + 0.8j) * np.sqrt(2), dtype=np.complex64)
    out = np.empty((N, N), dtype=np.float32)
    poisson_of_field(field, 1.0, np.uint64(seed), out)
    return out.ravel()


@pytest.mark.parametrize("mean", [0.003, 0.2, 1.0, 5.0, 9.99, 10.01, 40.0, 900.0])
def test_counts_have_the_poisson_distribution(mean: float) -> None:
    counts = draw(mean, 11)
    low, high = int(stats.poisson.ppf(1e-3, mean)), int(stats.poisson.ppf(1 - 1e-3, mean))
    edges = np.unique(np.linspace(low, high, 20).astype(int))
    observed = np.bincount(np.searchsorted(edges, counts), minlength=len(edges) + 1)
    expected = np.diff(np.concatenate([[0.0], stats.poisson.cdf(edges, mean), [1.0]])) * counts.size
    keep = expected > 20
    chi2 = ((observed[keep] - expected[keep]) ** 2 / expected[keep]).sum()
    assert stats.chi2.sf(chi2, max(keep.sum() - 1, 1)) > 1e-4
    assert counts.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / counts.size))
    assert counts.var() == pytest.approx(mean, rel=0.1 if mean < 0.01 else 0.03)


def test_no_light_gives_no_photons() -> None:
    assert not draw(0.0, 1).any()


def test_equal_seeds_give_equal_counts_and_others_do_not() -> None:
    assert np.array_equal(draw(20.0, 3), draw(20.0, 3))
    assert not np.array_equal(draw(20.0, 3), draw(20.0, 4))
