"""What all commands have in common."""

from __future__ import annotations

import json

import h5py
import pytest

from bluesky_ptycho.cli import _parser, main

from .commands import run

COMMANDS = next(a for a in _parser()._actions if isinstance(a.choices, dict)).choices


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_help_tells_every_argument(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0 and "None" not in text
    assert COMMANDS[command].description.endswith(".")
    assert all(action.help for action in COMMANDS[command]._actions)
    assert "--quiet" in text


def test_quiet_says_nothing_but_the_answer(desk, workplace, capsys):
    arguments = ["convert", "1", "--catalog", str(desk.name), "--to", "nxs", "--stage", "raw", "--output", "a.nxs"]
    status, out, errors = run(capsys, "--quiet", *arguments)
    assert (status, errors) == (0, []) and (workplace / "a.nxs").is_file()
    assert out in ("", "6 raw frames of 6 scan points, and 2 dark points; a.nxs holds them\n")
    status, _, errors = run(capsys, *arguments)
    assert status == 0 and errors, "else it tells how far it is"


@pytest.mark.parametrize("command", ["preprocess", "convert"])
def test_settings_of_a_file_count_and_single_ones_go_before_them(desk, workplace, command):
    (workplace / "s.toml").write_text("[preprocess]\nbinning = 2\nmin_relative_flux = 0.0\n")
    more = ["--to", "cxi"] if command == "convert" else []
    common = [command, "1", "--catalog", str(desk.name), *more, "--settings", "s.toml"]
    assert main([*common, "--output", "a.cxi"]) == 0
    assert main([*common, "--output", "b.cxi", "--set", "binning=4"]) == 0
    for name, side in (("a.cxi", 8), ("b.cxi", 4)):
        with h5py.File(name) as file:
            assert file["entry_1/data_1/data"].shape[1:] == (side, side)
            assert json.loads(file["entry_1/process_1/settings"][()])["min_relative_flux"] == 0.0
