from __future__ import annotations

import json

import pytest

from benchmarks import live_figure


@pytest.mark.slow
def test_the_whole_benchmark_runs_tiny(tmp_path, capsys):
    path = tmp_path / "figures.json"
    live_figure.main(["--side", "3", "--scans", "1", "--frame-rate", "100", "--json", str(path)])
    figures = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""])) == figures
    for kind in ("without", "with_figure"):
        times = figures[kind]["callback_ms"]
        assert times["documents"] > 9 and 0 < times["median"] <= times["p99"] <= times["longest"]
    assert figures["without"]["pictures"] == [0] and figures["with_figure"]["pictures"][0] >= 1
    assert (
        figures["p99_ratio"] == figures["with_figure"]["callback_ms"]["p99"] / figures["without"]["callback_ms"]["p99"]
    )
