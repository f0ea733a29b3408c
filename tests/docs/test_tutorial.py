"""The tutorial runs, line by line, as it stands, and its pictures are those that it makes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from .tutorial import IMAGES, run_tutorial

CELL = 40
"""Pixels of a picture that are compared as one: curves and counters differ from run to run."""


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # where the last command's catalog is remembered
    pictures = run_tutorial(tmp_path)
    said = capsys.readouterr().out
    assert "scan 1 (64, 128, 128)" in said, "the other process did not find the scan"
    assert "object (1, " in said
    assert "complex64" in said
    assert "2 reconstructions of 1 scan" in said
    assert "solver.mode is no setting; did you mean modes?" in said
    assert (tmp_path / "report.html").stat().st_size > 1e5
    for name, made in pictures.items():
        now, kept = _coarse(made), _coarse(IMAGES / name)
        assert now.shape == kept.shape, f"{name} has another size: python -m tests.docs.tutorial"
        assert np.abs(now - kept).mean() < 0.02, f"{name} looks different: python -m tests.docs.tutorial"


def _coarse(path):
    """Return the brightness of a picture, averaged over cells."""
    grey = imread(path)[..., :3].mean(axis=2)
    rows, cols = (n // CELL for n in grey.shape)
    return grey[: rows * CELL, : cols * CELL].reshape(rows, CELL, cols, CELL).mean(axis=(1, 3))
