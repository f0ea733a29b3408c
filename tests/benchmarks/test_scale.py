from __future__ import annotations

import json
import types

import pytest

from benchmarks import scale


@pytest.mark.slow
def test_the_whole_benchmark_runs_small(tmp_path, capsys):
    path = tmp_path / "figures.json"
    scale.main(["--frames", "36,9", "--repeats", "1", "--json", str(path)])
    figures = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == figures
    assert [run["frames"] for run in figures["runs"]] == [9, 36]
    assert figures["skipped"] == []
    for run in figures["runs"]:
        assert run["ms_per_frame"] == pytest.approx(1e3 * run["seconds_per_iteration"] / run["frames"])
        assert 0 < run["residual"] < 0.5
        assert run["bytes_per_frame_planned"] > 2 * 128**2
    assert figures["exponent"] is not None
    full = figures["full"]
    assert full["seconds_per_iteration"] == pytest.approx(170 * figures["runs"][-1]["ms_per_frame"])
    assert all(3700 < side < 4300 for side in full["object"])


def test_what_does_not_fit_is_skipped_and_named(monkeypatch, capsys):
    little = types.SimpleNamespace(available=scale.Scan(3, 128).planned_bytes * 1.5)
    monkeypatch.setattr(scale.psutil, "virtual_memory", lambda: little)
    scale.main(["--frames", "9,10000", "--repeats", "1"])
    figures = json.loads(capsys.readouterr().out)
    assert [run["frames"] for run in figures["runs"]] == [9]
    assert [run["frames"] for run in figures["skipped"]] == [10000]
    assert figures["exponent"] is None


def test_the_exponent_of_a_quadratic_law_is_two():
    assert scale.exponent([10, 20, 50], [3 * n**2 for n in (10, 20, 50)]) == pytest.approx(2)
