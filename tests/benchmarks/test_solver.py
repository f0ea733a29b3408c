from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks import solver, workloads
from benchmarks.convergence import Convergence, Speed, checkpoints, follow
from benchmarks.fft_floor import FFTFloor
from benchmarks.solver_work import SolverWork
from benchmarks.workloads import Recipe
from bluesky_ptycho.recon import SolverSettings

TINY = Recipe(window=64, grid=10, step=5, defocus_m=5e-6, photons=1e6)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(workloads.RECIPES, "tiny", TINY)


def test_the_whole_benchmark_runs_tiny(tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = ["--size", "tiny", "--algorithms", "rpie,unheard", "--iterations", "2,15", "--repeats", "2"]
    solver.main([*options, "--json", str(path)])
    figures = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == figures
    assert figures["not_registered"] == ["unheard"]
    assert figures["fft_floor_ms"] == min(figures["fft_ms"].values()) > 0
    assert figures["fft_ms"][figures["fft_library"]] == figures["fft_floor_ms"]
    assert figures["workload"]["frames"] == 100
    (entry,) = figures["algorithms"].values()
    assert entry["ms_per_frame_median"] >= entry["ms_per_frame"] > figures["fft_floor_ms"]
    assert entry["ratio_to_floor"] == pytest.approx(entry["ms_per_frame"] / figures["fft_floor_ms"])
    assert set(entry["object_nrmse"]) == set(entry["seconds"]) == {"2", "15"}
    assert entry["object_nrmse"]["15"] < 0.7 * entry["object_nrmse"]["2"]
    assert set(entry["subpixel"]["object_nrmse"]) == {"2"}
    assert entry["subpixel"]["ms_per_frame"] > 0
    assert figures["memory_bytes_per_frame_planned"] > figures["amplitude_bytes_per_frame"] == 4 * 64**2


@pytest.mark.parametrize("subpixel", [False, True])
def test_the_truth_explains_the_frames_where_they_were_taken(subpixel):
    work = SolverWork.named("tiny", subpixel=subpixel)
    settings = SolverSettings(algorithm="rpie", subpixel=subpixel)
    with work.solver(settings) as run:
        for batch in work.batches():
            run.add(batch)
        run.step(40)
        right = work.error(run)
    assert np.array_equal(work.positions, work.work.pos) != subpixel
    assert right < 0.03
    if subpixel:
        with work.solver(settings.replace(subpixel=False)) as run:
            for batch in work.batches():
                run.add(batch)
            run.step(40)
            assert work.error(run) > 1.5 * right


def test_convergence_is_told_at_the_stops_and_by_the_first_error_low_enough():
    state = {"passes": 0, "told": []}

    def step(n):
        state["passes"] += n

    found = follow(step, lambda: 1 / state["passes"], checkpoints([4, 9]), state["told"].append)
    assert state["told"] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    figures = found.figures([9, 4], [0.3, 0.01])
    assert figures["object_nrmse"] == {"4": 0.25, "9": 1 / 9}
    assert figures["passes_to_error"] == {"0.3": 4, "0.01": None}
    assert figures["seconds_to_error"]["0.3"] == figures["seconds"]["4"] <= figures["seconds"]["9"]


def test_a_diverged_error_is_null_and_reaches_nothing():
    found = Convergence()
    found.note(5, math.nan, 1.0, 2.0)
    figures = found.figures([5], [10.0])
    assert figures["object_nrmse"] == {"5": None}
    assert figures["seconds_to_error"] == {"10.0": None}


def test_speed_is_the_fastest_pass_against_the_fastest_floor():
    figures = Speed(frames=100, passes=[0.2, 0.1, 0.4], floors=[0.5, 0.5, 1.0]).figures(0.25)
    assert figures["ms_per_frame"] == pytest.approx(1.0)
    assert figures["ms_per_frame_median"] == pytest.approx(2.0)
    assert figures["ratio_to_floor"] == pytest.approx(4.0)
    assert figures["ratio_to_floor_beside_median"] == pytest.approx(4.0)


def test_the_floor_scales_with_the_work_and_keeps_the_best():
    with FFTFloor(32, 1, 64) as small, FFTFloor(128, 1, 64) as large:
        times = [(small.measure(), large.measure()) for _ in range(3)]
        assert small.best[1] <= min(t[0] for t in times)
        assert large.best[1] > 4 * small.best[1]


def test_passes_of_nothing_are_refused(capsys):
    with pytest.raises(SystemExit):
        solver.main(["--iterations", "0"])
    assert "expected numbers of passes above 0" in capsys.readouterr().err
