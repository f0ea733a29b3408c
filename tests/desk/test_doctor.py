"""One page of green, or what is to be mended."""

from __future__ import annotations

import shutil

from bluesky_ptycho.catalog import open_catalog
from bluesky_ptycho.doctor import State, examine, format_finding
from bluesky_ptycho.doctor.machine import check_plugins
from bluesky_ptycho.doctor.run import check_run
from tests.distributions import installer
from tests.stored import store_scan

from .commands import run


def test_a_page_of_green(desk, workplace, capsys):
    status, out, errors = run(capsys, "doctor", "1", "--catalog", str(desk.name))
    assert (status, errors) == (0, [])
    lines = out.splitlines()
    assert lines[-1] == "all is well" and "\x1b" not in out and "✗" not in out
    for name in ("versions", "memory", "GPU", "Qt", "plug-ins", "catalog", "rights", "frame roots", "SWMR", "disk"):
        assert any(line[2:].startswith(name) for line in lines), name
    assert "y is stage_y in um, x is stage_x in um" in out
    assert "6 points of 16 × 16 pixels, uint16" in out


def test_the_uid_of_a_reconstruction_means_its_scan(desk):
    findings = list(check_run(desk.processed[-1].start["uid"], desk))
    assert findings and all(finding.state is State.GOOD for finding in findings), findings


def test_what_is_broken_is_named_with_its_remedy(desk, workplace, capsys, tmp_path):
    copy = shutil.copytree(desk.name, tmp_path / "broken")
    with open_catalog(copy) as catalog:
        start = store_scan(catalog, scan_id=4)
        (catalog.frames_dir / f"{start['uid']}_primary.h5").write_bytes(b"no HDF5")
        bad = [finding for finding in examine(copy, 4) if finding.state is State.BAD]
    (frames,) = bad
    assert frames.name == "frames" and "cannot be opened" in frames.text and frames.remedy
    assert format_finding(frames, signs=False).startswith("NO frames")
    status, out, _ = run(capsys, "doctor", "--catalog", str(tmp_path / "nowhere"))
    assert status == 1
    assert "✗ catalog" in out and "→ see that the name is right" in out and out.endswith("1 thing to mend\n")
    (tmp_path / "README.md").write_text("")
    status, out, _ = run(capsys, "doctor", "--catalog", str(tmp_path / "README.md"))
    assert status == 1
    assert "is a file; expected a catalog's directory" in out and "→ name the directory that the catalog is in" in out


def test_plug_ins_are_tried(tmp_path):
    with installer(tmp_path) as install:
        install("broken-toy", {"bluesky_ptycho.sinks": {"broken_toy": "broken_toy:x"}}, {"broken_toy.py": "1 / 0\n"})
        install(
            "idle-toy", {"bluesky_ptycho.sinks": {"idle_toy": "idle_toy:x"}}, {"idle_toy.py": "1 / 0\n"}, enabled=False
        )
        bad, good = check_plugins()
    assert (bad.state, good.state) == (State.BAD, State.GOOD)
    assert "broken-toy 1.0 cannot be loaded: ZeroDivisionError" in bad.text and "--plugin broken-toy" in bad.remedy
    assert good.text == "broken-toy 1.0; installed, but off: idle-toy"
