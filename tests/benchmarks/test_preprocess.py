from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import preprocess, preprocess_scene
from benchmarks.preprocess_scene import diffraction, inside, simulate, squares
from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline


@pytest.fixture(autouse=True)
def few_darks(monkeypatch):
    monkeypatch.setattr(preprocess_scene, "N_DARKS", 3)


@pytest.mark.slow
def test_the_whole_benchmark_runs_small(tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = "--frames 2 --repeats 1 --threads 1 --seconds 0.1 --rate 50 --truth-frames 2"
    preprocess.main([*options.split(), "--json", str(path)])
    figures = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == figures
    chains = {"cosmic", "cosmic_fixed_threshold", "nanosurveyor"}
    for name in ("cosmic_fps", "nanosurveyor_fps", "numpy_reference_fps", "end_to_end_fps"):
        assert figures[name] > 0
    for name in ("share", "truth", "numpy_steps_fps", "one_thread_fps"):
        assert set(figures[name]) == chains
    for shares in figures["share"].values():
        assert sum(shares.values()) == pytest.approx(1)
        assert len(shares) > 2
    assert 0 < figures["memory_bandwidth"]["cosmic"] < 1
    run = figures["end_to_end"]["cosmic"]
    assert run["rate"] == 50
    assert 0 < run["reading_share"] < 1
    assert run["lag_most_s"] >= run["lag_s"] > 0
    for truth in figures["truth"].values():
        assert truth["kept"]["1000"] == pytest.approx(1, abs=0.01)
        assert truth["hdr"]["1e+04"] == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_the_straightforward_steps_do_what_the_chain_does():
    scene = simulate(diffraction(1e7), 2, lost_packets=2.0)
    settings = PreprocessSettings(photon_threshold=preprocess.THRESHOLD)
    with make_pipeline(scene.plan, settings) as pipeline:
        clean = pipeline(scene.frames, scene.darks)
    reference = preprocess._reference(scene)
    for i, raw in enumerate(scene.frames[:, 0]):
        photons, mask = reference(raw)
        np.testing.assert_array_equal(mask, clean.mask[i])
        assert not mask.all()
        # The bias of the minimum is a constant there, and measured here.
        assert photons.sum() == pytest.approx(clean.photons[i].sum(), rel=2e-3)
        assert np.corrcoef(photons.ravel(), clean.photons[i].ravel())[0, 1] > 0.9999


def test_squares_stand_on_dark_ground_and_their_insides_are_pure():
    pattern = squares((3.0, 10.0))
    assert set(np.unique(pattern)) == {0.0, 3.0, 10.0}
    assert (pattern == 0).mean(axis=0).min() > 0.5
    for level in (0.0, 3.0, 10.0):
        blocks = pattern.reshape(240, 4, 240, 4).swapaxes(1, 2)[inside(pattern, level, 4)]
        assert len(blocks) > 3000
        assert (blocks == level).all()
