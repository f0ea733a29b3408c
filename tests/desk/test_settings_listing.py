"""The settings at the shell: all of them, with all that is declared of them, and files that are read again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from bluesky_ptycho.callbacks import LiveSettings
from bluesky_ptycho.cli import main
from bluesky_ptycho.commands.reprocess import live_changes
from bluesky_ptycho.commands.settings_file import read_settings_file
from bluesky_ptycho.settings import as_text
from tests.conftest import REPOSITORY
from tests.docs.blocks import FENCE

from .commands import error_of, run


def listed(capsys, *arguments):
    status, out, errors = run(capsys, "settings", "--json", *arguments)
    assert (status, errors) == (0, [])
    return {entry["name"]: entry for entry in json.loads(out)}


def test_every_setting_is_listed_with_what_is_declared_of_it(capsys):
    told = listed(capsys)
    assert list(told) == LiveSettings.names()
    for name, entry in told.items():
        declared = LiveSettings.field_of(name).metadata
        assert (entry["meaning"], entry["unit"]) == (declared["doc"], declared["unit"])
    assert told["solver.modes"] | {"meaning": ""} == {
        "name": "solver.modes",
        "value": None,
        "default": None,
        "unit": "",
        "expected": "a whole number, 1 <= value <= 256, or none",
        "meaning": "",
        "knob": "recon.modes",
    }


def test_every_value_that_is_told_is_one_that_set_takes(capsys):
    told = listed(capsys, "--preset", "nanosurveyor")
    texts = [f"{name}={as_text(entry['value'])}" for name, entry in told.items() if entry["value"] != []]
    assert LiveSettings().with_changes(**live_changes(texts)) == LiveSettings().with_changes(
        **{"preprocess.preset": "nanosurveyor"}
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("modes", ["solver.modes"]),
        ("recon.beta", ["solver.relaxation"]),
        ("solver.position_", ["solver.position_model", "solver.position_bound_px"]),
        ("max_da", ["preprocess.max_dark_drift", "preprocess.max_dark_noise", "preprocess.max_damaged_fraction"]),
    ],
)
def test_a_name_narrows_the_list(capsys, name, found):
    assert list(listed(capsys, name)) == found


def test_a_person_reads_value_unit_range_and_meaning(capsys):
    status, out, _ = run(capsys, "settings", "patience_s")
    assert (status, out) == (
        0,
        "of the run:\n  patience_s = 10.0   (a number, 0 <= value, in s)\n"
        "      How long to wait for announced rows to appear in the file.\n",
    )


def test_a_preset_shows_what_it_changes(capsys):
    _, out, _ = run(capsys, "settings", "centre_frames", "--preset", "nanosurveyor")
    assert "preprocess.centre_frames = 8   (a whole number, 0 <= value, or none; default 0)" in out


def test_a_file_of_all_settings_is_read_with_and_without_its_marks(capsys, workplace):
    status, out, _ = run(capsys, "settings", "--file")
    assert status == 0
    (workplace / "as_it_is.toml").write_text(out)
    assert read_settings_file("as_it_is.toml") == LiveSettings()
    # Those that are none have no value in TOML, so that their lines stay marked.
    bare = re.sub(r"^#(\w+ = )", r"\1", out, flags=re.MULTILINE)
    assert bare.count("\npasses = 40\n") == bare.count("\nseed = 0\n") == 1
    (workplace / "bare.toml").write_text(bare)
    assert read_settings_file("bare.toml") == LiveSettings()


def test_a_file_is_shown_and_written_again(capsys, workplace):
    block = next(m for m in FENCE.finditer((REPOSITORY / "docs/how-to/settings.md").read_text()) if m["file"])
    (workplace / "s.toml").write_text(block["code"])
    told = listed(capsys, "--settings", "s.toml")
    assert {name for name, entry in told.items() if entry["value"] != entry["default"]} >= {
        "passes", "preprocess.preset", "preprocess.binning", "solver.modes", "solver.refine_positions",
    }  # fmt: skip
    _, out, _ = run(capsys, "settings", "--file", "--settings", "s.toml")
    (workplace / "again.toml").write_text(out)
    assert read_settings_file("again.toml") == read_settings_file("s.toml")


def test_what_is_no_setting_is_one_line(capsys):
    told = error_of(capsys, "settings", "solver.mode1")
    assert told.endswith("no setting is called 'solver.mode1' or begins so; did you mean solver.modes?")
    told = error_of(capsys, "settings", "xyzzy")
    assert "expected backend, " in told and told.endswith(", frc, preprocess, solver, recon"), "groups are named too"
    assert error_of(capsys, "settings", "sovler").endswith("did you mean solver?")
    with pytest.raises(SystemExit):
        main(["settings", "--preset", "fast"])
    assert "--preset: invalid choice: 'fast' (choose from 'cosmic', 'nanosurveyor')" in capsys.readouterr().err


def test_a_wrong_name_elsewhere_is_told_where_all_are_listed(capsys):
    told = error_of(capsys, "reprocess", "-1", "--set", "solver.beta=1")
    assert told.endswith("(bluesky-ptycho settings lists all)")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "reader", "read"),
    [
        ("settings", "head -1", "of the run:\n"),
        ("settings", "true", ""),  # it reads nothing at all
        ("settings modes", "true", ""),  # which is less than a buffer
    ],
)
def test_whoever_has_read_enough_ends_it_quietly(arguments, reader, read, unbuffered):
    command = f"{sys.executable} -m bluesky_ptycho {arguments} | {reader}; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, read, "")
