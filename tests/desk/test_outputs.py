"""Which files commands write, and what they must not replace."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from bluesky_ptycho.cli import main
from bluesky_ptycho.commands.arguments import REPLACED
from bluesky_ptycho.errors import PtychoError
from bluesky_ptycho.output_file import check_output, check_output_directory
from tests.small_cxi import write_small_cxi

from .commands import error_of

WRITERS = {
    "logbook": (["logbook"], "--output", ".html"),
    "mask": (["mask", "1", "--rectangle", "0,0,0,0"], "--output", ".npy"),
    "bug-report": (["bug-report", "1"], "--output", ".zip"),
    "show": (["show", "1"], "--output", ".png"),
    "report": (["report", "1"], "--output", ".html"),
    "notebook": (["report", "1"], "--notebook", ".ipynb"),
    "cxi": (["convert", "1", "--to", "cxi"], "--output", ".cxi"),
    "ptyd": (["convert", "1", "--to", "ptyd"], "--output", ".ptyd"),
    "tiff": (["convert", "1", "--to", "tiff"], "--output", ".tiff"),
    "preprocess": (["preprocess", "1"], "--output", ".cxi"),
}


def denied(dir):
    """Take the place of what makes a file, where root may make one anywhere."""
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))


@pytest.mark.parametrize("name", WRITERS)
def test_all_commands_refuse_the_same_outputs_before_they_ask_a_catalog(name, workplace, capsys, monkeypatch):
    command, option, suffix = WRITERS[name]
    (workplace / f"made{suffix}").mkdir()
    (workplace / "file").write_text("")

    def told(output):
        return error_of(capsys, *command, option, output, "--catalog", "absent").partition(" error: ")[2]

    assert told(f"no/x{suffix}") == f"{option} is no/x{suffix}; its directory no does not exist"
    assert told(f"file/x{suffix}") == f"{option} is file/x{suffix}; its directory file is no directory"
    assert told(f"made{suffix}").startswith(f"{option} is made{suffix}, which is a directory; expected the name of a .")
    assert told(".").startswith(f"{option} is ., which is a directory; expected the name of a .")
    assert f"{option} is x.ptyx; expected the name of a {suffix}" in told("x.ptyx")
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryFile", denied)
        assert told(f"x{suffix}").endswith("; its directory . cannot be written to")
    with pytest.raises(SystemExit) as left:
        told("")
    assert left.value.code == 2
    assert f"argument {option}: value is ''; expected the name of a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["demo"], ["reconstruct", "patterns.cxi", "--iterations", "1"]], ids=["demo", "cxi"]
)
def test_a_directory_that_cannot_be_written_to_is_refused_before_the_work(command, workplace, capsys, monkeypatch):
    write_small_cxi(workplace / "patterns.cxi")
    (workplace / "there").mkdir()
    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    for output, place in (("there", "there"), ("there/not", "there"), ("not/yet", "")):
        told = error_of(capsys, *command, "--output", output)
        assert told.endswith(f"--output is {output}; the directory {workplace / place} cannot be written to")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, in which nobody makes files")
def test_a_place_is_tried_not_asked_for_its_permissions(workplace):
    """Root has the permission to write to /proc."""
    with pytest.raises(PtychoError, match=r"^output is /proc/x\.html; its directory /proc cannot be written to$"):
        check_output(Path("/proc/x.html"))
    with pytest.raises(PtychoError, match=r"^output is /proc/x; the directory /proc cannot be written to$"):
        check_output_directory(Path("/proc/x"))
    check_output(workplace / "x.html")
    check_output_directory(workplace / "x")
    assert not list(workplace.iterdir())


@pytest.mark.parametrize(
    "place", ["frames/2026/x.h5", "tables.db", "catalog.db", "catalog.db-wal", "frames.json", "results/x.h5", "mine/x"]
)
def test_no_output_lies_among_the_files_of_a_catalog(desk, workplace, capsys, place):
    target = f"{desk.name}/{place}"
    told = error_of(capsys, "convert", "1", "--to", "cxi", "--catalog", str(desk.name), "--output", target)
    lies = f"--output is {target}, which lies among the files of catalog {desk.name}; expected a place outside of it"
    assert lies in told
    (workplace / "link").symlink_to(desk.name)
    assert "among the files of catalog" in error_of(
        capsys, "logbook", "--catalog", str(desk.name), "--output", f"link/{place}"
    )


@pytest.mark.parametrize("place", ["frames", "results/x", "mine"])
@pytest.mark.parametrize("command", [["replay", "1"], ["resume", "1"], ["reconstruct", "small.cxi"], ["demo"]])
def test_no_directory_of_results_lies_among_the_files_of_a_catalog(desk, workplace, capsys, command, place):
    target = desk.results_dir.parent / place
    before = sorted(desk.results_dir.parent.rglob("*"))
    if command[0] == "reconstruct":
        write_small_cxi(workplace / "small.cxi")
    where = [] if command[0] in ("reconstruct", "demo") else ["--catalog", str(desk.name)]
    told = error_of(capsys, *command, *where, "--output", str(target))
    assert f"--output is {target}, which lies among the files of catalog {desk.name}; expected a place outside" in told
    assert sorted(desk.results_dir.parent.rglob("*")) == before


def test_a_file_of_another_name_beside_a_catalog_s_own_is_all_right_and_so_is_a_report_of_a_scan(desk):
    place = desk.results_dir.parent
    check_output(place / "results.html", (".html",))
    check_output(place / "results" / "00001.html", (".html",), beside_results=True)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["preprocess", "raw.h5", "--positions", "x.csv"], "x.csv"),
        (["preprocess", "raw.h5", "--darks", "x.cxi::darks"], "x.cxi"),
        (["preprocess", "x.cxi"], "hard.cxi"),
        (["preprocess", "1", "--settings", "x.csv"], "x.csv"),
        (["convert", "1", "--to", "cxi", "--settings", "x.cxi"], "./x.cxi"),
        (["mask", "1", "--file", "x.npy"], "x.npy"),
        (["bug-report", "1", "--log", "x.zip"], "x.zip"),
        (["show", "x.png"], "x.png"),
    ],
)
def test_no_output_is_what_the_command_reads(command, output, workplace, capsys):
    for suffix in ("csv", "cxi", "npy", "zip", "png"):
        (workplace / f"x.{suffix}").write_text("mine")
    (workplace / "raw.h5").write_text("")
    (workplace / "hard.cxi").hardlink_to(workplace / "x.cxi")
    told = error_of(capsys, *command, "--output", output)
    assert "which the command reads; expected another file" in told
    assert (workplace / output).read_text() == "mine"


def test_page_and_notebook_of_a_report_are_two_files(workplace, capsys):
    (workplace / "same.ipynb").symlink_to("same.html")
    told = error_of(capsys, "report", "1", "--output", "same.html", "--notebook", "same.ipynb")
    assert "--notebook is same.ipynb, which is --output as well; expected another file" in told
    (workplace / "mine.ipynb").write_text("{}")
    told = error_of(capsys, "report", "1", "--template", "mine.ipynb", "--notebook", "mine.ipynb")
    assert "--notebook is mine.ipynb, which the command reads" in told
    assert (workplace / "mine.ipynb").read_text() == "{}"


def test_pictures_that_come_along_replace_no_input(workplace, capsys):
    file = write_small_cxi(workplace / "a.cxi").path
    shutil.copy(file, "clean.point3.png")
    told = error_of(capsys, "preprocess", "clean.point3.png", "--explain", "3")
    assert "the picture beside --output is clean.point3.png, which the command reads" in told


@pytest.mark.parametrize("command", ["bug-report", "convert", "logbook", "mask", "preprocess", "report", "show"])
def test_help_says_that_a_file_is_replaced(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert REPLACED in " ".join(capsys.readouterr().out.rpartition("--output FILE")[2].split()).partition(" --")[0]
