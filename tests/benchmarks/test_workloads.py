from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks.workloads import (
    OBJECT_PIXEL_M,
    OUTER_ZONE_M,
    far_field,
    known_object,
    make_workload,
    twice_as_fine,
    zone_plate_probe,
)


def test_workload_equals_the_shared_generator(shared_bench, tmp_path, capsys):
    shared_bench("simulate").main("small", tmp_path / "small.npz")
    ours = make_workload("small")
    with np.load(tmp_path / "small.npz") as shared:
        assert len(shared.files) == 9
        for name in shared.files:
            np.testing.assert_array_equal(getattr(ours, name), shared[name], err_msg=name)
    assert "obj" in capsys.readouterr().out


def test_workload_is_what_it_says():
    work = make_workload("small")
    assert work.I.shape == (400, 128, 128)
    assert work.I.dtype == np.uint16
    assert work.obj.dtype == work.probe.dtype == np.complex64
    assert np.sum(np.abs(work.probe) ** 2) == pytest.approx(2.5e5, rel=1e-3)
    amplitude = np.abs(work.obj)
    assert 0.39 < amplitude.min() < amplitude.max() < 1.01
    rows, cols = (work.pos.max(axis=0) + 128).tolist()
    assert max(rows, cols) <= min(work.obj.shape)
    clean = (
        np.abs(np.fft.fft2(work.probe * work.obj[: work.pos[0, 0] + 128, : work.pos[0, 1] + 128][-128:, -128:])) ** 2
    )
    # Energy is conserved (ortho), and counts scatter about the clean pattern as Poisson's do.
    assert work.I[0].sum() == pytest.approx(clean.sum() / 128**2, rel=0.01)


def test_probe_fills_the_annulus_of_the_zone_plate():
    n = 128
    pupil = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(zone_plate_probe(n, 10e-6))))) ** 2
    f = np.fft.fftshift(np.fft.fftfreq(n, OBJECT_PIXEL_M))
    radius = np.hypot(f[:, None], f[None, :]) * 2 * OUTER_ZONE_M
    inside = pupil[(radius > 0.45) & (radius < 0.9)].mean()
    assert pupil[radius < 0.2].max() < 0.01 * inside
    assert pupil[radius > 1.2].max() < 0.01 * inside


def test_missing_pictures_are_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(RuntimeError, match="scikit-image"):
        known_object(32)


def test_unknown_workload_is_an_error():
    with pytest.raises(KeyError, match="huge"):
        make_workload("huge")


def test_light_beyond_the_detector_is_folded_back_or_lost():
    """A beam and a grating that only together reach beyond the edge; each alone is the same on either grid."""
    n, corner = 32, np.array([4, 6])
    column = np.arange(2 * n)
    grating = np.exp(2j * np.pi * column * 12 / n)[None, :] * np.ones((2 * n, 1))
    beam = np.exp(2j * np.pi * np.arange(n) * 3 / n)[None, :] * np.ones((n, 1))
    folded = abs(far_field(beam * np.exp(2j * np.pi * np.arange(n) * 4 / n), grating, corner, n)) ** 2
    lost = (twice_as_fine(beam * np.exp(2j * np.pi * np.arange(n) * 4 / n)), twice_as_fine(grating))
    assert folded[n // 2, n // 2 + 19 - n] == pytest.approx(n**2)
    assert abs(far_field(*lost, corner, n)).max() < 1e-3
    within = (twice_as_fine(beam), twice_as_fine(grating))
    np.testing.assert_allclose(
        abs(far_field(*within, corner, n)), abs(far_field(beam, grating, corner, n)), atol=n * 1e-5
    )
