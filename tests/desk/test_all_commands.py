"""What all commands have in common."""

from __future__ import annotations

import errno
import json
import shlex
from pathlib import Path

import h5py
import pytest

from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.cli import EXAMPLES, _parser, main
from bluesky_ptycho.scan_plan import Illumination
from tests.stored import store_scan

from .commands import error_of, run

COMMANDS = next(a for a in _parser()._actions if isinstance(a.choices, dict)).choices


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("columns", ["80", "120"])
def test_every_help_tells_every_argument(command, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0 and "None" not in text
    assert COMMANDS[command].description.endswith(".")
    assert all(action.help for action in COMMANDS[command]._actions)
    assert "--quiet" in text
    assert not any(line.endswith("-") for line in text.splitlines()), "names with a hyphen stay whole"
    assert f"example: bluesky-ptycho {EXAMPLES[command]}" in " ".join(text.split())
    assert _parser().parse_args(shlex.split(EXAMPLES[command])).parser.prog.endswith(command)


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


@pytest.fixture
def stored(catalog):
    """A catalog of its own with one scan."""
    store_scan(catalog)
    return catalog


@pytest.mark.parametrize("command", ["replay", "resume"])
def test_what_is_reconstructed_again_takes_the_settings_of_a_file(stored, workplace, command):
    (workplace / "s.toml").write_text("passes = 3\n[solver]\nmodes = 2\n")
    main([command, "-1", "--catalog", str(stored.name), "--output", "out", "--settings", "s.toml"])
    made = stored.processed[-1].start["settings"]
    assert (made["passes"], made["solver"]["modes"]) == (3, 2)


@pytest.mark.slow
def test_what_is_resumed_replaces_nothing(catalog, workplace, capsys):
    light = Illumination(diameter_m=240e-6, outer_zone_m=60e-9, stop_m=60e-6, defocus_m=10e-6)
    store_scan(catalog, planned={"illumination": light})
    (workplace / "s.toml").write_text("passes = 1\nfrc = false\n")
    resume = ["resume", "-1", "--catalog", str(catalog.name), "--settings", "s.toml"]
    assert main(resume) == 0
    resume[1] = catalog.processed[-1].metadata["start"]["uid"]  # a reconstruction is taken for its scan
    assert main(resume) == 2 and "nothing to resume: run" in capsys.readouterr().err
    store_scan(catalog, planned={"illumination": light})
    resume[1] = "-1"
    assert main(resume) == 0
    for name in ("ptycho_resume", "ptycho_resume_2"):
        assert (workplace / name / "result.cxi").is_file()
    assert len(catalog.processed) == 2


@pytest.mark.slow
def test_the_demo_takes_the_settings_of_a_file(workplace):
    (workplace / "s.json").write_text('{"passes": 2, "frc": false, "solver": {"modes": 2}}')
    assert main(["demo", "--shape", "3", "3", "--frame-rate", "100", "--settings", "s.json"]) == 0
    with open_catalog(workplace / "ptycho_demo" / "catalog", create=False) as catalog:
        made = catalog.processed[-1].start["settings"]
    assert (made["passes"], made["frc"], made["solver"]["modes"]) == (2, False, 2)


@pytest.mark.parametrize("command", [["demo"], ["resume", "1"]])
def test_a_settings_file_that_is_wrong_is_one_line(desk, workplace, capsys, command):
    (workplace / "s.toml").write_text("[solver]\nmode = 2\n")
    where = [] if command == ["demo"] else ["--catalog", str(desk.name)]
    told = error_of(capsys, *command, *where, "--settings", "s.toml")
    assert "settings file s.toml: solver.mode is no setting; did you mean modes? known: algorithm, modes" in told
    assert not (workplace / "ptycho_demo").exists() and not (workplace / "ptycho_resume").exists()


def test_what_the_system_refuses_is_told_in_its_words_without_their_number(desk, workplace, capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", "kept.jsonl")

    (workplace / "s.toml").write_text("passes = 3\n")
    (workplace / "kept.jsonl").write_text("{}\n")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_text", refuse)
        told = error_of(capsys, "settings", "--settings", "s.toml")
    assert told.endswith(" error: settings file s.toml: it cannot be read: Permission denied")
    with monkeypatch.context() as patch:
        opened = Path.open
        patch.setattr(Path, "open", lambda p, *a, **k: (refuse if p.name == "kept.jsonl" else opened)(p, *a, **k))
        assert run(capsys, "restore", "kept.jsonl", "--catalog", str(desk.name)) == (
            1, "", ["bluesky-ptycho: error: kept.jsonl: permission denied"]
        )  # fmt: skip
    monkeypatch.setattr("bluesky_ptycho.commands.settings_table.as_list", refuse)
    assert error_of(capsys, "settings") == "bluesky-ptycho: error: kept.jsonl: Permission denied"
