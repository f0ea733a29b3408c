from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks.workloads import OBJECT_PIXEL_M, OUTER_ZONE_M, known_object, make_workload, zone_plate_probe


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
