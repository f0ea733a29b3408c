"""Commands as a user types them, and what the scans of these tests are called."""

from __future__ import annotations

from bluesky_ptycho.cli import main

HOSTILE = '<script>alert(1)</script>\x1b[31m & "gold" \u202e'
KEY = "7f3a9c0e5b1d"
PERSONAL = {"user_name": "Jane Doe", "proposal": "pass-314159", "data_session": "pass-314159"}


def run(capsys, *arguments):
    """Run a command; return its status, what it printed, and the lines of its errors."""
    status = main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err.splitlines()


def error_of(capsys, *arguments):
    status, _, lines = run(capsys, *arguments)
    assert status == 2
    (line,) = lines
    assert line.startswith("bluesky-ptycho: error: ")
    return line
