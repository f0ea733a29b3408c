"""Scans are found by time, sample, energy and resolution."""

from __future__ import annotations

import pytest

from bluesky_ptycho.catalog import list_runs, make_search
from bluesky_ptycho.errors import SettingsError

from .commands import error_of, run


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [3, 2, 1]),
        ({"since": "1d"}, [3, 2]),
        ({"until": "1d"}, [1]),
        ({"since": "2020-01-01", "until": "2020-12-31"}, []),
        ({"sample": "GOLD"}, [3, 2, 1]),
        ({"sample": "gold_"}, [3]),
        ({"energy": "1100-1300"}, [2]),
        ({"energy": "800 eV"}, [3, 1]),
        ({"energy": 1200}, [2]),
        ({"resolution": "12nm"}, [1]),
        ({"resolution": "0.013 um"}, [1]),
        ({"resolution": "11nm"}, []),
        ({"sample": "gold", "energy": "800", "since": "1h"}, [3]),
    ],
)
def test_scans_are_found(desk, wanted, found):
    assert [row.scan_id for row in list_runs(desk, search=make_search(**wanted))] == found


def test_runs_lists_what_is_searched_for(desk, workplace, capsys):
    status, out, _ = run(capsys, "runs", "--catalog", str(desk.name), "--resolution", "20nm", "--sample", "balls")
    assert status == 0
    (scan,) = list_runs(desk, search=make_search(sample="balls"))
    listed = [line.split()[-1] for line in out.splitlines()[2:]]
    assert listed == [row.uid[:8] for row in (scan, *scan.reconstructions)]
    assert "12.0 nm" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "someday"], "since is 'someday'; expected 2026-11-01, "),
        (["--since", "0001-01-01"], "since is '0001-01-01'; expected 2026-11-01, "),
        (
            ["--since", "2026-11-02", "--until", "2026-11-01"],
            "until, which is 2026-11-01 23:59:59; expected an earlier",
        ),
        (["--until", "9" * 400 + "w"], "99w'; expected 2026-11-01, "),
        (
            ["--since", "2026-11-02 14:30", "--until", "2026-11-01"],
            "since is 2026-11-02 14:30:00, later than --until, which is 2026-11-01 23:59:59; expected an earlier time",
        ),
        (
            ["--energy", "red"],
            "energy is 'red'; expected a positive energy in eV, or in keV as 0.8keV, or two as 700-900",
        ),
        (["--energy", "900-700"], "--energy is 900 to 700 eV; expected a lowest and a highest one"),
        (["--resolution", "20"], "resolution is '20'; expected a half pitch above 0, as 20nm"),
        (["--sample", " "], "sample is ' ' (str); expected a name or a part of one"),
        (["--resolution", "0nm"], "resolution is '0nm'; expected a half pitch above 0"),
    ],
)
@pytest.mark.parametrize("command", ["runs", "logbook"])
def test_a_search_that_cannot_be_read_is_refused(command, arguments, says, workplace, capsys):
    assert says in error_of(capsys, command, *arguments)


def test_a_limit_beyond_all_numbers_is_none(desk, workplace, capsys):
    status, out, _ = run(capsys, "runs", "--catalog", str(desk.name), "--limit", "9" * 30)
    assert status == 0 and len(out.splitlines()) == 6


def test_an_energy_may_be_in_kev():
    assert make_search(energy="0.8keV") == make_search(energy=800.0)
    assert make_search(energy="0.7-0.9 keV").energies_ev == pytest.approx((700, 900))
    with pytest.raises(SettingsError, match=r"energy is '0\.8k'"):
        make_search(energy="0.8k")
