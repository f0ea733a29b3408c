"""The benchmark of the photon threshold runs and writes what it says."""

import json

import pytest

from benchmarks import photon_threshold


@pytest.mark.slow
def test_figures_and_a_drawing_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(photon_threshold, "FIXED", (0.8,))
    photon_threshold.main(
        ["--json", str(tmp_path / "t.json"), "--figure", str(tmp_path / "t.png"), "--photons", "1e6",
         "--side", "2", "--passes", "2"]
    )  # fmt: skip
    figures = json.loads((tmp_path / "t.json").read_text())
    assert figures["pixels"]["own"][0] < figures["pixels"]["fixed"]["0.8"][0]
    errors = figures["object_error"]["1e+06"]
    assert all(0 < e < 1 for e in (errors["clean"], errors["own"], *errors["fixed"].values()))
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
