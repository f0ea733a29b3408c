"""Planned transforms with and without pyFFTW; what FFTW's search found is kept for the next process."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bluesky_ptycho import fftw_plans
from bluesky_ptycho.file_lock import take_lock
from bluesky_ptycho.planned_fft import PlannedFFT

SHAPE = (2, 12, 10)


@pytest.fixture
def new_machine(monkeypatch, tmp_path):
    """Forget in this process what earlier tests have found, and keep what is found in a directory of its own."""
    pyfftw = pytest.importorskip("pyfftw")

    def begin(cache: Path = tmp_path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(fftw_plans, "_efforts", {})
        pyfftw.forget_wisdom()

    begin()
    return begin


@pytest.fixture
def no_more_searches(monkeypatch):
    return lambda: monkeypatch.setattr(fftw_plans, "_better_effort", lambda buffer: pytest.fail("searched again"))


def kept_shapes():
    return json.loads(fftw_plans._path().read_text())["efforts"].keys()


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


@pytest.mark.parametrize("why", ["absent", "broken"])
def test_so_does_scipys(monkeypatch, tmp_path, why):
    if why == "absent":
        monkeypatch.setitem(sys.modules, "pyfftw", None)
    else:
        monkeypatch.delitem(sys.modules, "pyfftw", raising=False)
        (tmp_path / "pyfftw.py").write_text("raise ImportError('libfftw3f.so.3: cannot open shared object file')")
        monkeypatch.syspath_prepend(tmp_path)
    check_transforms()


@pytest.mark.parametrize("patience_s", [0.0, 3.0], ids=["cut short", "done"])
def test_the_search_is_made_once_on_a_machine(new_machine, no_more_searches, monkeypatch, patience_s):
    monkeypatch.setattr(fftw_plans, "PATIENCE_S", patience_s)
    check_transforms()
    assert kept_shapes() == {"2 x 12 x 10"}

    new_machine()  # as the next process does
    no_more_searches()
    check_transforms()
    check_transforms()  # and so does another lane
    pyfftw = pytest.importorskip("pyfftw")
    pyfftw.forget_wisdom()
    check_transforms()  # as the file tells it again
    with pytest.raises(pytest.fail.Exception, match="searched again"):
        check_transforms((1, 8, 8))
    fftw_plans._path().unlink()
    pyfftw.forget_wisdom()
    with pytest.raises(pytest.fail.Exception, match="searched again"):
        check_transforms()


def test_what_was_cut_short_is_not_chosen_however_quick_it_seems(new_machine, no_more_searches, monkeypatch):
    monkeypatch.setattr(fftw_plans, "PATIENCE_S", 0.0)
    clock = (1.0 / tick if tick % 2 else 0.0 for tick in itertools.count())  # what is timed later seems quicker
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: next(clock))
        check_transforms()
    no_more_searches()
    check_transforms()


def test_what_other_processes_have_found_meanwhile_stays(new_machine, no_more_searches, monkeypatch):
    shapes = [SHAPE, (1, 8, 8), (1, 6, 9)]
    check_transforms(shapes[0])
    new_machine()
    check_transforms(shapes[1])
    new_machine()
    monkeypatch.setattr(fftw_plans, "_efforts", {"2 x 12 x 10": fftw_plans.BRIEF})  # of one that was there before
    check_transforms(shapes[2])
    assert kept_shapes() == {"2 x 12 x 10", "1 x 8 x 8", "1 x 6 x 9"}
    new_machine()
    no_more_searches()
    for shape in shapes:
        check_transforms(shape)


def test_of_processes_that_begin_together_one_searches(new_machine, no_more_searches):
    check_transforms()
    path = fftw_plans._path()
    found = path.read_bytes()
    path.unlink()
    new_machine()
    no_more_searches()
    with ThreadPoolExecutor(1) as threads:
        with path.with_suffix(".lock").open("ab") as file:  # as the process that searches holds it
            assert take_lock(file)
            waits = threads.submit(check_transforms)
            time.sleep(4 * fftw_plans._POLL_S)
            assert not waits.done()
            path.write_bytes(found)
        waits.result(30)


def test_a_process_that_was_stopped_holds_up_nobody(new_machine, monkeypatch):
    monkeypatch.setattr(fftw_plans, "WAIT_S", 0.1)
    path = fftw_plans._path()
    path.parent.mkdir()
    with path.with_suffix(".lock").open("ab") as file:
        assert take_lock(file)
        check_transforms()


def test_builds_of_fftw_have_files_of_their_own(new_machine, monkeypatch):
    path = fftw_plans._path()
    check_transforms()
    assert fftw_plans._path() == path
    monkeypatch.setattr("pyfftw.export_wisdom", lambda: (b"", b"(fftw-3.3.10 fftwf_wisdom #x1 #x2 #x3 #x4\n)\n", b""))
    assert fftw_plans._path() != path


def test_a_build_without_long_doubles_keeps_its_plans_too(new_machine, no_more_searches, monkeypatch):
    pyfftw = pytest.importorskip("pyfftw")
    take = pyfftw.import_wisdom
    monkeypatch.setattr(pyfftw, "import_wisdom", lambda wisdom: (*take(wisdom)[:2], False))
    check_transforms()
    new_machine()
    no_more_searches()
    check_transforms()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"efforts": {"2 x 12 x 10": "FFTW_PATIENT"}}',
        '{"efforts": [], "wisdom": ""}',
        '{"efforts": {}, "wisdom": [1, 2, 3]}',
        '{"efforts": {"2 x 12 x 10": "FFTW_PATIENT"}, "wisdom": "(fftw-2.0 fftwf_wisdom)"}',
        "\N{GREEK SMALL LETTER MU}",
    ],
)
def test_a_file_of_something_else_is_replaced(new_machine, tmp_path, content):
    file = fftw_plans._path()
    file.parent.mkdir()
    file.write_text(content, encoding="utf-8")
    check_transforms()
    assert kept_shapes() == {"2 x 12 x 10"}


def test_without_a_place_for_the_file_each_process_searches(new_machine, tmp_path):
    no_directory = tmp_path / "file"
    no_directory.write_text("")
    new_machine(no_directory)
    check_transforms()
    assert no_directory.read_text() == ""


def test_without_a_home_nothing_is_kept(new_machine, monkeypatch, tmp_path):
    """As in a container whose user has no entry among those of the system."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
    monkeypatch.chdir(tmp_path)
    check_transforms()
    assert not list(tmp_path.iterdir())
