"""Every command and snippet of the README is run.

Most run as they stand. What would take minutes is shortened here by a stated change (`SHORTENED`), and
runs as it stands among the slow tests; the test command itself is what ``.ci/run`` takes from the README.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser

import h5py
import numpy as np
import pytest

from bluesky_ptycho.cli import main
from tests.conftest import REPOSITORY

from .blocks import read_blocks
from .shell import run_shell

PAGE = REPOSITORY / "README.md"
INSTALL_AND_DEMO = "python -m pip install . && bluesky-ptycho demo\n"
TEST_COMMAND = "python -m pip install '.[test]' && python -m pytest\n"

SHORTENED = {
    "bluesky-ptycho demo": "bluesky-ptycho demo --shape 6 6 --frame-rate 50",
    "--iterations 100": "--iterations 2",
    "width=0.8, height=0.8": "width=0.6, height=0.6",
}


@pytest.fixture(scope="module")
def blocks():
    return read_blocks(PAGE)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where the README's commands run one after the other; the demo has run there."""
    place = tmp_path_factory.mktemp("readme")
    run_shell("bluesky-ptycho --help", place)
    run_here(SHORTENED["bluesky-ptycho demo"], place)
    return place


def run_here(line, directory):
    """Run a line in this process, which has loaded what it needs and plans its transforms briefly."""
    program, *arguments = shlex.split(line)
    assert program == "bluesky-ptycho", line
    bluesky = logging.getLogger("bluesky")
    level = bluesky.level
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("XDG_STATE_HOME", str(directory / "state"))  # as `run_shell` has it
        try:
            assert main(arguments) == 0, line
        finally:
            bluesky.setLevel(level)


def command(blocks, beginning):
    """Return the line of a shell block that begins so; exactly one does."""
    lines = [line for block in blocks if block.language == "sh" for line in block.code.splitlines()]
    (found,) = (line for line in lines if line.startswith(beginning))
    return shortened(found)


def shortened(code):
    for long, short in SHORTENED.items():
        code = code.replace(long, short)
    return code


def test_no_block_goes_untested(blocks):
    shell = [line for block in blocks if block.language == "sh" for line in block.code.splitlines()]
    assert [line.split(" -")[0] for line in shell] == [
        "python",
        "python",
        "bluesky-ptycho runs",
        "bluesky-ptycho replay",
        "bluesky-ptycho reconstruct siemens_aps.cxi",
        "bluesky-ptycho preprocess",
        "bluesky-ptycho reconstruct clean.cxi",
    ]
    assert [block.language for block in blocks if block.language != "sh"] == ["text", "ipython", "python"]


def test_the_two_commands_are_the_ones_that_continuous_integration_runs(blocks):
    assert [b.code for b in blocks if "pip install" in b.code] == [INSTALL_AND_DEMO, TEST_COMMAND]
    pattern = re.search(r"grep -m1 \"(.*?)\" README\.md", (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8"))
    taken = subprocess.run(["grep", "-m1", pattern[1], PAGE], capture_output=True, text=True, check=True).stdout
    assert taken == TEST_COMMAND


def test_the_picture_is_there(blocks):
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (REPOSITORY / link).is_file(), f"README links to {link}"


def test_extras_that_are_named_are_there():
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    named = set(re.findall(r"'\.\[(\w+)\]'|extra `(\w+)`", PAGE.read_text(encoding="utf-8")))
    assert {"session", "test", "fftw", "gpu", "report"} == {a or b for a, b in named}
    assert {a or b for a, b in named} <= set(setup["options.extras_require"])


def test_demo(directory):
    made = directory / "ptycho_demo"
    summary = json.loads((made / "summary.json").read_text())
    assert summary["n_frames"] == 36
    assert summary["frames_lost"] == 0
    assert (made / "reconstruction.png").stat().st_size > 10_000
    with h5py.File(made / "result.cxi") as result, h5py.File(made / "truth.h5") as truth:
        assert result["entry_1/image_1/data"].shape == truth["object"].shape


@pytest.mark.slow
def test_replay_and_runs(blocks, directory):
    run_shell(command(blocks, "bluesky-ptycho replay"), directory)
    listed = run_shell(command(blocks, "bluesky-ptycho runs"), directory)
    assert re.findall("goldballs|reconstruction", listed) == ["goldballs", "reconstruction", "reconstruction"]
    live, again = (
        json.loads((directory / name / "summary.json").read_text()) for name in ("ptycho_demo", "ptycho_replay")
    )
    assert again["raw_uid"] == live["raw_uid"]
    assert again["residual"] == pytest.approx(live["residual"], rel=0.1)


def test_reconstruct(blocks, directory, real_file):
    shutil.copy(real_file("siemens_aps.cxi"), directory)
    run_here(command(blocks, "bluesky-ptycho reconstruct siemens"), directory)
    summary = json.loads((directory / "ptycho_reconstruction" / "summary.json").read_text())
    assert summary["iterations"] == 2
    assert summary["n_frames"] == 516


@pytest.mark.slow
def test_preprocess_and_reconstruct_what_it_wrote(blocks, directory):
    run_shell(command(blocks, "bluesky-ptycho preprocess"), directory)
    assert (directory / "clean.point7.png").stat().st_size > 10_000
    with h5py.File(directory / "clean.cxi") as clean:
        assert clean["entry_1/data_1/data"].shape == (36, 240, 240)
    run_shell(command(blocks, "bluesky-ptycho reconstruct clean") + " --iterations 5", directory)
    newest = max(directory.glob("ptycho_reconstruction*"), key=lambda path: path.stat().st_mtime)
    assert json.loads((newest / "summary.json").read_text())["n_frames"] == 36


@pytest.mark.slow
def test_the_session_at_the_prompt(blocks, tmp_path):
    (block,) = (b for b in blocks if b.language == "ipython")
    (tmp_path / "session.ipy").write_text(
        shortened(block.code) + "print('number', RE.md['scan_id'])\nprint(repr(last()))\n"
    )
    said = run_shell("ipython --no-banner --colors=NoColor session.ipy", tmp_path)
    assert re.search(
        r"^scan 1 gold: resolution .* nm.*, 36/36 frames used, 10 darks, .* s, in ptycho_catalog", said, re.M
    )
    assert re.search(r"^number 1$", said, re.M)
    assert "<scan 1 gold: resolution" in said
    assert len(list((tmp_path / "ptycho_catalog" / "results").glob("*.png"))) == 1


def test_attaching_to_a_session_that_is_there(blocks, RE, ptycho_catalog, ptycho_beamline):
    (block,) = (b for b in blocks if b.language == "python")
    names = {"RE": RE, "catalog": ptycho_catalog, "fccd": ptycho_beamline.fccd, "stage": ptycho_beamline.stage}
    RE.subscribe(ptycho_catalog.raw_writer())
    exec(compile(block.code, PAGE, "exec"), names)
    with names["live"] as live:
        image = live.result.snapshot.object
        assert image.dtype == np.complex64
        assert ptycho_catalog[live.result.result_uid].start["raw_uid"] == ptycho_catalog[-1].start["uid"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_install_and_demo_as_they_stand(tmp_path):
    copy = tmp_path / "clone"
    ignored = shutil.ignore_patterns(".git", "build", "*.egg-info", ".*_cache", "__pycache__", ".venv", "ptycho_*")
    shutil.copytree(REPOSITORY, copy, ignore=ignored)
    activate = "python3 -m venv environment && . environment/bin/activate"
    run_shell(f"{activate} && {INSTALL_AND_DEMO}", copy, timeout_s=800.0)
    summary = json.loads((copy / "ptycho_demo" / "summary.json").read_text())
    assert (summary["n_frames"], summary["frames_lost"]) == (400, 0)
