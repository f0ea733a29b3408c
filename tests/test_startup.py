"""The names of the simulated session, imported into a program of one's own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bluesky_ptycho.catalog import open_catalog

PROGRAM = """
from bluesky_ptycho.startup import *

fccd.frame_rate = 50.0
RE(ptycho_scan(fccd, stage.y, stage.x, width=0.2, height=0.2, step=0.1, exposure=0.02, darks=1, sample_name="mine"))
scan = last()
assert scan.result.start["raw_uid"] == catalog[-1].start["uid"], scan
assert live.result.progress.used == 4, live
assert not shutter.is_open and session.RE is RE
recon.modes.put(2)
assert live.settings.solver.modes == 2
print("seen", sorted(name for name in globals() if not name.startswith("_")))
"""

NAMES = [
    "RE",
    "catalog",
    "fccd",
    "last",
    "live",
    "ptycho_fly_scan",
    "ptycho_list_scan",
    "ptycho_scan",
    "recon",
    "session",
    "shutter",
    "stage",
]


@pytest.mark.slow
def test_a_plain_program_gets_the_session_and_leaves_it_tidy(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONWARNINGS": "error::ResourceWarning"}
    done = subprocess.run(
        [sys.executable, str(program), "--an-option-of-the-program", "its argument"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f"seen {sorted([*NAMES, 'scan'])}" in done.stdout
    assert "\nTo scan: RE(ptycho_scan(" in done.stdout
    with open_catalog(tmp_path / "ptycho_catalog", create=False) as catalog:
        assert (len(catalog), len(catalog.processed)) == (1, 1)
        assert catalog[-1].start["sample_name"] == "mine"


def test_options_may_follow_a_catalog_and_two_dashes(tmp_path):
    """IPython leaves the dashes where a name stands before them."""
    done = subprocess.run(
        [sys.executable, "-m", "bluesky_ptycho.startup", "elsewhere", "--", "--camera", "plain", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Start a simulated session." in done.stdout
    assert not list(tmp_path.iterdir())
