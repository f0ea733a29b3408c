from __future__ import annotations

import json
import math

from bluesky_ptycho.summary import Summary

KEYS = [
    "raw_uid",
    "result_uid",
    "n_frames",
    "scan_seconds",
    "seconds_after_last_frame",
    "iterations",
    "residual",
    "object_nrmse",
    "frc_resolution_m",
    "frames_lost",
]


def test_all_keys_are_written_and_the_unknown_is_null(tmp_path):
    path = tmp_path / "summary.json"
    Summary(raw_uid="abc", n_frames=400, residual=0.01, object_nrmse=math.nan, frc_resolution_m=math.inf).write(path)
    found = json.loads(path.read_text())
    assert list(found) == KEYS
    assert {name for name, value in found.items() if value is not None} == {"raw_uid", "n_frames", "residual"}
    assert (found["raw_uid"], found["n_frames"], found["residual"]) == ("abc", 400, 0.01)
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
