"""Errors call arguments what the person typed: options at a shell, keywords in Python."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from bluesky_ptycho.cli import main
from bluesky_ptycho.demo import DemoOptions
from bluesky_ptycho.doctor import examine
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.output_file import check_output_directory
from bluesky_ptycho.raw_scan import RawFileOptions, raw_file
from bluesky_ptycho.report import report


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Directory of a session without any catalog; it is the working directory."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(call, *given, **named):
    """Return what a call refuses in one line."""
    with pytest.raises(PtychoError) as refused:
        call(*given, **named)
    return str(refused.value)


def test_a_catalog_that_nobody_named(alone, capsys):
    pytest.importorskip("papermill")
    assert said(report, "facade").endswith("that an earlier command wrote to; expected catalog=")
    assert main(["runs"]) == 2
    assert capsys.readouterr().err.endswith("expected --catalog DIR\n")
    assert said(report, "facade").endswith("expected catalog=")  # the command before has ended
    remedies = " ".join(str(finding) for finding in examine())
    assert "name one with catalog=" in remedies and "--catalog" not in remedies


def test_an_output_that_is_a_file(alone, capsys):
    file = alone / "a.txt"
    file.touch()
    assert said(check_output_directory, file) == f"output is {file}, which is a file; expected the name of a directory"
    assert main(["demo", "--output", str(file)]) == 2
    assert f"--output is {file}, which is a file" in capsys.readouterr().err


def test_options_of_the_demo(alone, capsys):
    assert said(DemoOptions, shape=(1, 5)).startswith("shape is 1 5; expected NY and NX")
    assert said(DemoOptions, frame_rate=201.0).startswith("frame_rate is 201 Hz; expected")
    assert main(["demo", "--frame-rate", "201"]) == 2
    assert "--frame-rate is 201 Hz" in capsys.readouterr().err


def test_a_raw_file_that_does_not_tell_enough(alone):
    with h5py.File(alone / "raw.h5", "w") as file:
        file["frames"] = file["others"] = np.zeros((2, 8, 8), dtype=np.uint16)

    def read(**options):
        with raw_file(alone / "raw.h5", RawFileOptions(**options)):
            pass

    assert said(read).endswith("expected one data set of frames, or its name with dataset=")
    assert said(read, dataset="frames").endswith("expected energy_ev, distance_m, positions, pixel_m beside it")
