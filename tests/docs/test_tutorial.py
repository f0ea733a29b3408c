"""The tutorial runs, line by line, as it stands."""

from __future__ import annotations

import sys

from tests.conftest import REPOSITORY

from .blocks import read_blocks
from .shell import run_shell

PAGE = REPOSITORY / "docs" / "tutorial.md"


def test_the_tutorial_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tutorial"}
    for block in read_blocks(PAGE):
        if block.file:
            (tmp_path / block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            # Padded so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.code, PAGE, "exec"), names)
        else:
            assert block.language == "sh", block
            sys.stdout.write(run_shell(block.code, tmp_path))
    said = capsys.readouterr().out
    assert "scan 1 (64, 128, 128)" in said, "the other process did not find the scan"
    assert "object (1, " in said
    assert "complex64" in said
    assert "2 reconstructions of 1 scan" in said
    assert "SolverSettings has no setting 'mode'" in said
