"""Shell commands of a page, run as a user would type them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_shell(code: str, directory: Path, *, timeout_s: float = 240.0) -> str:
    """Run `code` with this interpreter's commands first; return what it said, assert that it succeeded."""
    state = directory / "state"  # where the last command's catalog is remembered
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=directory,
        env={**os.environ, "PATH": path, "XDG_STATE_HOME": str(state), "IPYTHONDIR": str(directory / "ipython")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout
