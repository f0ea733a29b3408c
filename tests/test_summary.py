from __future__ import annotations

import json
import math

import pytest

from bluesky_ptycho.summary import Summary, resolution_text

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
    "propagation",
    "focus_to_sample_m",
    "input_file",
    "settings_given",
]


def test_all_keys_are_written_and_the_unknown_is_null(tmp_path):
    path = tmp_path / "summary.json"
    Summary(raw_uid="abc", n_frames=400, residual=0.01, object_nrmse=math.nan, frc_resolution_m=math.inf).write(path)
    found = json.loads(path.read_text())
    assert list(found) == KEYS
    assert {name for name, value in found.items() if value is not None} == {"raw_uid", "n_frames", "residual"}
    assert (found["raw_uid"], found["n_frames"], found["residual"]) == ("abc", 400, 0.01)
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_the_line_tells_what_is_known():
    full = Summary(
        n_frames=400,
        seconds_after_last_frame=2.34,
        residual=0.0071,
        object_nrmse=0.0336,
        frc_resolution_m=1.34e-8,
        frames_lost=2,
    )
    assert full.describe(6.5e-9) == (
        "resolution 13.4 nm, residual 0.0071, error 0.0336 against the known object, 2 of 400 frames lost, "
        "done 2.3 s after the last frame"
    )
    assert Summary(residual=math.nan).describe() == "resolution unknown"


@pytest.mark.parametrize(
    ("resolution_m", "limit_m", "text"),
    [
        (None, None, ""),
        (math.nan, 6.5e-9, ""),
        (1.204e-8, None, "12.0 nm"),
        (1.204e-8, 6.5e-9, "12.0 nm"),
        (6.5e-9, 6.5e-9, "6.5 nm or finer (pixel limit)"),
    ],
)
def test_a_resolution_in_words(resolution_m, limit_m, text):
    assert resolution_text(resolution_m, limit_m) == text
