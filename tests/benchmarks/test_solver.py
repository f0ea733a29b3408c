from __future__ import annotations

import json
import math
import sys
import types

import numpy as np
import pytest

from benchmarks import peer_runs, peers, solver, workloads
from benchmarks.convergence import Convergence, Speed, checkpoints, follow, time_passes
from benchmarks.fft_floor import FFTFloor
from benchmarks.peers import __main__ as peers_main
from benchmarks.solver_work import SolverWork
from benchmarks.workloads import Recipe
from bluesky_ptycho.recon import SolverSettings

TINY = Recipe(window=64, grid=10, step=5, defocus_m=5e-6, photons=1e6)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(workloads.RECIPES, "tiny", TINY)


@pytest.mark.slow
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
    assert set(figures["algorithms"]) == {"rpie", "default"}
    assert set(figures["modes"]) == {"1", "2", "4"}
    entry = figures["algorithms"]["rpie"]
    assert entry["ms_per_frame_median"] >= entry["ms_per_frame"] > figures["fft_floor_ms"]
    assert entry["ratio_to_best_floor"] == pytest.approx(entry["ms_per_frame"] / figures["fft_floor_ms"])
    assert entry["ratio_to_floor"] > 1
    assert set(entry["object_nrmse"]) == set(entry["seconds"]) == {"2", "15"}
    assert entry["object_nrmse"]["15"] < 0.7 * entry["object_nrmse"]["2"]
    assert set(entry["subpixel"]["object_nrmse"]) == {"2"}
    assert entry["subpixel"]["ms_per_frame"] > 0
    assert figures["memory_bytes_per_frame_planned"] > figures["amplitude_bytes_per_frame"] >= 2 * 64**2


def error_after_many_passes(work, **settings):
    with work.solver(SolverSettings(**settings)) as run:
        for batch in work.batches():
            run.add(batch)
        run.step(80)
        return work.error(run)


def test_the_truth_explains_the_frames_where_they_were_taken():
    rounded, between = (SolverWork.named("tiny", subpixel=subpixel) for subpixel in (False, True))
    assert np.array_equal(rounded.positions, rounded.work.pos)
    assert not np.array_equal(between.positions, between.work.pos)
    assert error_after_many_passes(rounded, subpixel=False) < 0.02
    right = error_after_many_passes(between)
    assert right < 0.02
    assert error_after_many_passes(between, subpixel=False) > 1.5 * right


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


def test_a_pass_is_compared_with_the_floor_beside_it():
    figures = Speed(frames=100, passes=[0.2, 0.1, 0.4], floors=[0.5, 0.5, 1.0]).figures(0.25)
    assert figures["ms_per_frame"] == pytest.approx(1.0)
    assert figures["ms_per_frame_median"] == pytest.approx(2.0)
    assert figures["ratio_to_best_floor"] == pytest.approx(4.0)
    assert figures["ratio_to_floor"] == pytest.approx(4.0)


def test_the_floor_is_taken_before_and_after_each_pass():
    floors = iter([1.0, 3.0, 5.0])
    speed = time_passes(lambda n: None, 100, 2, lambda: next(floors), lambda: None)
    assert speed.floors == [2.0, 4.0]


def test_the_floor_scales_with_the_work_and_keeps_the_best():
    with FFTFloor(32, 1, 64) as small, FFTFloor(128, 1, 64) as large:
        times = [(small.measure(), large.measure()) for _ in range(3)]
        assert small.best[1] <= min(t[0] for t in times)
        assert large.best[1] > 4 * small.best[1]


def test_peers_that_are_missing_are_named_and_those_that_fail_say_why(monkeypatch):
    monkeypatch.setattr(peers, "MODULES", ("absent",))
    monkeypatch.setattr(peer_runs, "MODULES", ("absent",))
    absent = types.SimpleNamespace(DISTRIBUTION="no-such-distribution", ENGINES={"PIE": None})
    monkeypatch.setitem(sys.modules, "benchmarks.peers.absent", absent)
    assert list(peer_runs.engines()) == []
    assert peer_runs.left_out() == {"absent": "no-such-distribution is not installed: pip install '.[peers]'"}
    failed = peer_runs.run_peer("ptylab", "no such engine", "small", [], 1, 400, lambda: 1.0)
    assert isinstance(failed, str)
    assert "no such engine" in failed


def test_a_peer_is_measured_in_a_process_of_its_own():
    """The runner with a reconstruction that knows the answer after two passes."""
    work = workloads.make_workload("tiny")

    class Oracle:
        def __init__(self):
            self.passes = 0

        def step(self, n):
            self.passes += n

        def object(self):
            return (work.obj if self.passes > 1 else np.ones_like(work.obj)), (0, 0)

    peer = types.SimpleNamespace(ENGINES={"oracle": lambda work, total: Oracle()}, ANNEALED=False)
    found = peers_main.run(peer, "oracle", work, [1, 3], 2)
    assert len(found["passes"]) == 2
    assert list(found["convergence"]) == [1, 2, 3]
    assert found["convergence"][1][0] > 0.1
    assert found["convergence"][2][0] < 1e-3
    peer.ANNEALED = True
    assert list(peers_main.run(peer, "oracle", work, [1, 3], 1)["convergence"]) == [1, 3]


def test_passes_of_nothing_are_refused(capsys):
    with pytest.raises(SystemExit):
        solver.main(["--iterations", "0"])
    assert "expected numbers of passes above 0" in capsys.readouterr().err


def test_memory_is_seen_again_after_it_was_freed():
    for _ in range(2):
        before = solver.resident_bytes()
        arrays = [np.ones(2**20, np.uint8) for _ in range(64)]
        assert solver.resident_bytes() - before == pytest.approx(2**26, rel=0.1)
        assert len(arrays) == 64
        del arrays
