"""The tutorial runs, line by line, as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

from .blocks import read_blocks

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


def run_shell(code: str, directory: Path) -> str:
    """Run shell commands as a user would, with this interpreter as ``python``."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", code], cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
