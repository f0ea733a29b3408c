"""Planned transforms with and without pyFFTW; what FFTW's search found is kept for the next process."""

from __future__ import annotations

import importlib.util
import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest

from bluesky_ptycho import fftw_plans
from bluesky_ptycho.planned_fft import PlannedFFT

SHAPE = (2, 12, 10)


@pytest.fixture
def new_machine(monkeypatch, tmp_path):
    """Forget in this process what earlier tests have found, and keep what is found in a directory of its own."""
    pyfftw = pytest.importorskip("pyfftw")

    def begin(cache: Path = tmp_path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(fftw_plans, "_efforts", {})
        monkeypatch.setattr(fftw_plans, "_read", [])
        pyfftw.forget_wisdom()

    begin()
    return begin


def check_transforms(shape=SHAPE):
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    fft = PlannedFFT(wave.shape)
    assert not fft.buffer.any()
    fft.buffer[:] = wave
    fft.forward()
    assert fft.buffer.dtype == np.complex64
    assert np.allclose(fft.buffer, np.fft.fft2(wave), atol=1e-4)
    fft.inverse()
    assert np.allclose(fft.buffer / (shape[-2] * shape[-1]), wave, atol=1e-5)


def test_planned_transform_equals_numpys(new_machine):
    check_transforms()


def test_so_does_scipys(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyfftw" else find(name))
    check_transforms()


def test_what_was_cut_short_is_not_chosen_however_quick_it_seems(new_machine, monkeypatch):
    monkeypatch.setattr(fftw_plans, "PATIENCE_S", 0.0)
    clock = (1.0 / tick if tick % 2 else 0.0 for tick in itertools.count())  # what is timed later seems quicker
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: next(clock))
        check_transforms()
    monkeypatch.setattr(fftw_plans, "_better_effort", lambda buffer: pytest.fail("searched again"))
    check_transforms()


@pytest.mark.parametrize("patience_s", [0.0, 3.0], ids=["cut short", "done"])
def test_the_search_is_made_once_on_a_machine(new_machine, monkeypatch, patience_s, tmp_path):
    monkeypatch.setattr(fftw_plans, "PATIENCE_S", patience_s)
    check_transforms()
    (file,) = tmp_path.glob("bluesky_ptycho/fftw-*.json")
    assert json.loads(file.read_text())["efforts"].keys() == {"2 x 12 x 10"}

    new_machine()  # as the next process does
    monkeypatch.setattr(fftw_plans, "_better_effort", lambda buffer: pytest.fail("searched again"))
    check_transforms()
    check_transforms()  # and so does another lane
    pyfftw = pytest.importorskip("pyfftw")
    pyfftw.forget_wisdom()
    with pytest.raises(pytest.fail.Exception, match="searched again"):
        check_transforms()
    with pytest.raises(pytest.fail.Exception, match="searched again"):
        check_transforms((1, 8, 8))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"efforts": {"2 x 12 x 10": "FFTW_PATIENT"}}',
        '{"efforts": [], "wisdom": []}',
        '{"efforts": {"2 x 12 x 10": "FFTW_PATIENT"}, "wisdom": ["", "(fftw-2.0 fftwf_wisdom)", ""]}',
        "\N{GREEK SMALL LETTER MU}",
    ],
)
def test_a_file_of_something_else_is_replaced(new_machine, tmp_path, content):
    file = fftw_plans._path()
    file.parent.mkdir()
    file.write_text(content, encoding="utf-8")
    check_transforms()
    assert json.loads(file.read_text())["efforts"].keys() == {"2 x 12 x 10"}


def test_without_a_place_for_the_file_each_process_searches(new_machine, tmp_path):
    no_directory = tmp_path / "file"
    no_directory.write_text("")
    new_machine(no_directory)
    check_transforms()
    assert no_directory.read_text() == ""
