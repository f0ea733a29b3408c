"""File names of scans: where they go, and that nothing a user types leads elsewhere."""

from __future__ import annotations

import datetime
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.paths import MAX_NAME_LENGTH, ScanPaths, sanitise

TODAY = "2026-03-01"


@pytest.fixture
def _today(monkeypatch):
    class Day(datetime.date):
        @classmethod
        def today(cls):
            return cls.fromisoformat(TODAY)

    monkeypatch.setattr("bluesky_ptycho.paths.datetime", SimpleNamespace(date=Day))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("goldballs", "goldballs"),
        ("../../etc/passwd", "etc_passwd"),
        ("/absolute", "absolute"),
        ("a b\tc\n", "a_b_c"),
        ("Müller 3 µm", "Muller_3_um"),
        ("x" * 10_000, "x" * MAX_NAME_LENGTH),
        ("", "unnamed"),
        ("...", "unnamed"),
        ("金", "unnamed"),
        ("-rf", "rf"),
        ("v1..2", "v1.2"),
        (None, "None"),
        (7, "7"),
        ("a\x00b", "a_b"),
    ],
)
def test_sanitise(name, expected):
    assert sanitise(name) == expected


@given(st.text())
def test_sanitised_names_are_harmless_and_stable(name):
    safe = sanitise(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", safe)
    assert ".." not in safe and len(safe) <= MAX_NAME_LENGTH
    assert sanitise(safe) == safe


@pytest.mark.usefixtures("_today")
def test_names_follow_the_run_engine(tmp_path):
    md = {"cycle": "2026-3", "proposal": "pass-123", "scan_id": 11}
    paths = ScanPaths(tmp_path, md)
    assert paths.stem("gold balls") == tmp_path / "2026-3" / "pass-123" / TODAY / "00011_gold_balls"
    md["scan_id"] = 12
    path = paths.file("primary", "gold balls")
    assert path == tmp_path / "2026-3" / "pass-123" / TODAY / "00012_gold_balls_primary.h5"
    assert path.parent.is_dir() and not path.exists()


@pytest.mark.parametrize(
    ("md", "expected"),
    [
        ({}, "no_cycle/no_proposal"),
        ({"proposal": {"proposal_id": 4711}}, "no_cycle/4711"),
        ({"proposal": {}, "data_session": "pass-9"}, "no_cycle/pass-9"),
        ({"cycle": "..", "proposal": "../../x"}, "no_cycle/x"),
    ],
)
@pytest.mark.usefixtures("_today")
def test_directory(tmp_path, md, expected):
    assert ScanPaths(tmp_path, md).directory() == tmp_path / expected / TODAY


def test_nothing_is_overwritten(tmp_path):
    paths = ScanPaths(tmp_path, {"scan_id": 3})
    names = []
    for _ in range(3):
        path = paths.file("dark", "s")
        path.touch()
        names.append(path.name)
    assert names == ["00003_s_dark.h5", "00003_s_dark_2.h5", "00003_s_dark_3.h5"]


def test_a_link_out_of_the_root_is_refused(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "cycle").symlink_to(elsewhere)
    with pytest.raises(MetadataError, match="within"):
        ScanPaths(root, {"cycle": "cycle"}).file("primary")
