"""The names of the simulated session, imported into a program of one's own."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest

from bluesky_ptycho.catalog import open_catalog
from tests.conftest import REPOSITORY
from tests.docs.blocks import FENCE

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
another = attach(RE, catalog, settings=LiveSettings(passes=2, frc=False))
RE(ptycho_scan(fccd, stage.y, stage.x, width=0.2, height=0.2, step=0.1, exposure=0.02, darks=1, sample_name="mine"))
assert last().result.start["uid"] == another.result.result_uid and live.is_closed
del another
print("seen", sorted(name for name in globals() if not name.startswith("_")))
"""

NAMES = [
    "RE",
    "LivePtycho",
    "LiveSettings",
    "attach",
    "catalog",
    "fccd",
    "last",
    "live",
    "ptycho_fly_scan",
    "ptycho_list_scan",
    "ptycho_scan",
    "recon",
    "replay",
    "report",
    "session",
    "shutter",
    "stage",
]


def test_what_the_pages_type_at_the_prompt_is_there():
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    blocks = [block for page in pages for block in FENCE.finditer(page.read_text()) if block["language"] == "ipython"]
    assert blocks
    for block in blocks:
        code = ast.parse(re.sub(r"^%.*", "", block["code"], flags=re.MULTILINE))
        assert {node.id for node in ast.walk(code) if isinstance(node, ast.Name)} <= {*NAMES}


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
        assert (len(catalog), len(catalog.processed)) == (2, 2), "what is attached takes the place of the session's own"
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


NO_SESSION = {
    "--nonsense": "unrecognized arguments: --nonsense; -- --help tells of all",
    "one --catalog two": "two catalogs, one and two; expected one; -- --help tells of all",
    "--sample nowhere.png": "--sample is 'nowhere.png', which is no file; expected ",
}
NO_FIGURE = {"--camera plain --figure window": "matplotlib's backend is 'agg'; expected Qt's "}


def ipython(directory, *options, typed=""):
    """Run an IPython of its own in a directory, and return what it printed where `typed` was typed."""
    pytest.importorskip("IPython")
    return subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--colors=NoColor", *options],
        input=typed,
        cwd=directory,
        env=os.environ | {"IPYTHONDIR": str(directory / "ipython"), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize(
    "refusals", [NO_SESSION, pytest.param(NO_FIGURE, marks=pytest.mark.slow)], ids=["no session", "no figure"]
)
def test_a_refusal_at_the_prompt_takes_one_line(tmp_path, refusals):
    code = "; ".join(f"get_ipython().run_line_magic('run', '-m bluesky_ptycho.startup -- {each}')" for each in refusals)
    done = ipython(tmp_path, "-c", f"{code}; print(dir())")
    lines = done.stderr.splitlines()
    assert len(lines) == len(refusals), done.stderr
    for line, message in zip(lines, refusals.values(), strict=True):
        assert line.startswith(f"%run -m bluesky_ptycho.startup: {message}")
    assert "Traceback" not in done.stdout
    assert "'session'" not in done.stdout
    assert not (tmp_path / "two").exists()


def test_what_a_scan_is_refused_for_takes_one_line_at_the_prompt(tmp_path):
    """Neither a traceback of IPython nor one in the log of the RunEngine, which ends for it too."""
    bad = "RE(ptycho_scan(fccd, stage.y, stage.x, width=0.2, height=0.2, step={step}, exposure={exposure}))"
    lines = [
        "%run -m bluesky_ptycho.startup -- --camera plain",
        bad.format(step=0.1, exposure=-0.1),
        bad.format(step=0.3, exposure=0.1),
        "live = attach(RE, catalog)",
        "live = attach(RE, catalog, control=recon)",
        "%xmode Verbose",
        "recon.modes.put(0)",
    ]
    done = ipython(tmp_path, "--no-confirm-exit", typed="\n".join(lines) + "\n")
    told, verbose = done.stdout.split("Exception reporting mode: Verbose")
    assert "Traceback" not in told + done.stderr
    assert re.search(r"^(In \[\d+\]: )?SettingsError: exposure .*-0.1", told, re.MULTILINE), told
    assert "PreflightError: the scan has 1 point, which makes no image; expected more" in told
    assert told.count("the knobs of recon turn nothing from now on; control=recon takes them over") == 1
    assert "Traceback (most recent call last)" in verbose and "SettingsError: recon.modes is 0" in verbose
