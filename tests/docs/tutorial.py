"""The tutorial, run line by line; ``python -m tests.docs.tutorial`` renews the pictures that its page shows."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from bluesky_ptycho.cli import main
from tests.conftest import REPOSITORY

from .blocks import read_blocks
from .shell import run_shell

PAGE = REPOSITORY / "docs" / "tutorial.md"
IMAGES = REPOSITORY / "docs" / "images"
PICTURES = {
    "tutorial-live.png": "tutorial_output/*/live.png",
    "tutorial-modes.png": "modes.png",
    "tutorial-steps.png": "clean*.png",
}
"""Pictures of the page, and what the tutorial calls them."""


def run_tutorial(directory: Path) -> dict[str, Path]:
    """Run all blocks in `directory`, the working directory; return its pictures, by the names that the page shows."""
    names = {"__name__": "tutorial"}
    for block in read_blocks(PAGE):
        if block.file:
            (directory / block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            # Padded so that a traceback names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.code, PAGE, "exec"), names)
        elif block.code.startswith("bluesky-ptycho "):
            (line,) = block.code.splitlines()
            assert main(shlex.split(line)[1:]) == 0, line
        else:
            assert block.language == "sh", block
            sys.stdout.write(run_shell(block.code, directory))
    shown = set(re.findall(r"\(images/(\S+)\)", PAGE.read_text(encoding="utf-8")))
    assert shown == set(PICTURES), "pictures of the page"
    made = {}
    for name, pattern in PICTURES.items():
        (made[name],) = directory.glob(pattern)
    return made


def renew() -> None:
    """Run the tutorial in a directory of its own and keep its pictures."""
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        for name, made in run_tutorial(Path(directory)).items():
            shutil.copyfile(made, IMAGES / name)
            sys.stdout.write(f"{IMAGES / name}\n")


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    renew()
