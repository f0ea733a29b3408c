"""The GPU's benchmark: what it says where there is no card, and a rehearsal on the host."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import gpu_solver

from ..cuda_on_host import COMPILER, HostCuda


def test_without_a_card_it_says_so_and_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_solver, "cupy_usable", lambda: False)
    with pytest.raises(SystemExit, match="needs a CUDA card"):
        gpu_solver.main(["--json", str(tmp_path / "figures.json")])
    assert not list(tmp_path.iterdir())


def test_the_figures_of_a_tiny_run_on_the_host(monkeypatch, tmp_path):
    if COMPILER is None:
        pytest.skip("no g++ to compile the kernels for the host with")
    monkeypatch.setattr(gpu_solver, "FFT_BYTES", 1 << 16)
    backend = HostCuda(tmp_path)
    options = argparse.Namespace(sizes=[32], side=4, modes=2, algorithms=["mpie", "raar"], repeats=2)
    figures = gpu_solver.measure(backend, options, copied=1 << 16)
    assert json.loads(json.dumps(figures)) == figures
    assert "pie_gradients" in backend.launches
    size = figures["sizes"]["32"]
    assert size["frames"] == 16
    assert size["memory_passes_ms"] * figures["copied_gb_per_s"] == pytest.approx(8 * 2 * 32**2 * 1e-6)
    for entry in size["algorithms"].values():
        for figure in (entry, entry["subpixel"]):
            assert len(figure["object_sums_ms"]["16"]) == 2
            assert figure["ms_per_frame_median"] >= figure["ms_per_frame"] > 0
            assert figure["ratio_to_fft"] == pytest.approx(figure["ms_per_frame"] / size["fft_ms"])
    mpie, raar = (size["algorithms"][name] for name in ("mpie", "raar"))
    assert mpie["plain_ms"] > 0 < mpie["recorded_ms"]
    assert raar["plain_ms"] is raar["recorded_ms"] is None
