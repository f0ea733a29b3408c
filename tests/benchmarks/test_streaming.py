from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import streaming, workloads
from benchmarks.orders import ORDERS, order_of
from benchmarks.solver_work import SolverWork
from benchmarks.workloads import Recipe


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(workloads.RECIPES, "tiny", Recipe(window=64, grid=8, step=6, defocus_m=5e-6, photons=1e6))


def test_the_whole_benchmark_runs_tiny(tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = "--size tiny --order raster random --block 8 --extra 2 --set probe_start=3 --algorithm rpie"
    streaming.main([*options.split(), "--json", str(path)])
    figures = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == figures
    assert figures["settings"]["probe_start"] == 3
    assert figures["batch"]["passes"] == 30
    assert figures["batch"]["after_tail"]["passes"] == figures["settings"]["tail_passes"]
    assert list(figures["orders"]) == ["raster", "random"]
    for found in figures["orders"].values():
        assert list(found["curve"]) == [f"{n / 8:.3f}" for n in range(1, 9)]
        assert found["curve"]["1.000"] == found["at_last_frame"] < found["curve"]["0.125"]
        assert found["ratio_to_batch"] == pytest.approx(found["at_last_frame"] / figures["batch"]["object_nrmse"])
        assert found["passes_in_all"] == pytest.approx(4.5)
        assert len(found["after_extra"]) == 2
        errors = [found["at_last_frame"], *found["after_extra"]]
        reached = [i for i, error in enumerate(errors) if error <= figures["batch"]["object_nrmse"]]
        assert found["extra_passes"] == (reached[0] if reached else None)


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_visits_every_point_once(name):
    np.testing.assert_array_equal(np.sort(order_of(name, 6)), np.arange(36))


def test_orders_are_what_they_say():
    assert order_of("raster", 3).tolist() == list(range(9))
    assert order_of("snake", 3).tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8]
    row, col = np.divmod(order_of("interlaced", 8), 8)
    assert set(zip((row[:16] % 2).tolist(), (col[:16] % 2).tolist(), strict=True)) == {(0, 0)}
    row, col = np.divmod(order_of("spiral", 9), 9)
    radius = np.hypot(row - 4, col - 4)
    assert radius[0] == 0
    assert (np.diff(radius) > -1).all()
    assert order_of("random", 8, seed=1).tolist() != order_of("random", 8, seed=2).tolist()


def test_reordered_work_keeps_frames_with_their_positions():
    work = SolverWork.named("tiny", subpixel=True)
    order = order_of("random", 8)
    again = work.in_order(order)
    np.testing.assert_array_equal(again.work.I[3], work.work.I[order[3]])
    np.testing.assert_array_equal(again.positions[3], work.positions[order[3]])
    np.testing.assert_array_equal(again.batch(np.array([3])).positions_m[0], work.positions_m[order[3]])
