"""The pytest plug-in, as the suite of a beamline uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEAMLINE_SUITE = """
from bluesky_ptycho import LivePtycho


def test_a_scan_is_stored_and_reconstructed(RE, ptycho_catalog, ptycho_beamline, short_ptycho_scan):
    with LivePtycho(catalog=ptycho_catalog) as live:
        RE.subscribe(live)
        uid = short_ptycho_scan(width=0.4, sample_name="gold")
        outcome = live.wait(240)
    run = ptycho_catalog[-1]
    assert run.metadata["start"]["uid"] == uid
    assert run.metadata["start"]["sample_name"] == "gold"
    assert run["primary"]["fccd_image"].shape == (20, 64, 64)
    assert outcome.progress.used == 20
    assert ptycho_catalog[outcome.result_uid].metadata["start"]["raw_uid"] == uid
    assert not ptycho_beamline.shutter.is_open


def test_each_test_begins_anew(RE, ptycho_catalog):
    assert len(ptycho_catalog) == 0
    assert RE.md.get("scan_id", 0) == 0
"""


@pytest.mark.slow
def test_the_fixtures_serve_the_suite_of_a_beamline(pytester):
    pytester.makepyfile(test_beamline=BEAMLINE_SUITE)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)


def test_fixtures_are_listed_with_what_they_do(pytester):
    result = pytester.runpytest_subprocess("--fixtures", "-q")
    for name in ("RE", "ptycho_beamline", "ptycho_catalog", "short_ptycho_scan"):
        result.stdout.re_match_lines([rf"^{name} -- .*pytest_plugin\.py.*"])


def test_loading_the_plug_in_loads_nothing_heavy():
    code = (
        "import sys, bluesky_ptycho.pytest_plugin\n"
        "assert not {'bluesky', 'ophyd', 'tiled', 'numpy', 'numba', 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
