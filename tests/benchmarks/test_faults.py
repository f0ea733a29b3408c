from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.pages import marks, put_between_marks

BEGIN, END = marks(faults.TABLE)

TESTS = """
import pytest

@pytest.mark.parametrize("case", [pytest.param(1.5, marks=pytest.mark.fault("2a", "late", bound="< 2")),
                                  pytest.param(2.5, marks=pytest.mark.fault("2b", "late", bound="< 2"))])
def test_bounded(case, figure):
    figure(case)
    assert case < 2

@pytest.mark.fault("10", "two tests, one row")
@pytest.mark.parametrize("n", [3, 4])
def test_shared(n, figure):
    figure(n_lost=n)

@pytest.mark.fault("1", "skipped")
def test_skipped():
    pytest.skip("not here")

@pytest.mark.fault("3", "breaks before it measures")
def test_broken(figure):
    raise RuntimeError

@pytest.mark.xfail(reason="known")
@pytest.mark.fault("4", "expected to fail")
def test_known(figure):
    figure("nothing")
    assert False

@pytest.mark.slow
@pytest.mark.fault("5", "slow")
def test_slow(figure):
    figure(0, 7)

def test_of_no_row():
    pass
"""


@pytest.fixture
def matrix(tmp_path, capfd):
    """Run a matrix of its own with the real suite's hooks; return rows, exit status, page and what was printed."""
    own = tmp_path / "tests"
    own.mkdir()
    (own / "test_matrix.py").write_text(TESTS)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    with pytest.raises(SystemExit) as end:
        plugin = ["-p", "tests.faults.conftest", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
        faults.main(
            ["--json", str(tmp_path / "rows.json"), "--markdown", str(page), "--tests", str(own), "--pytest", *plugin]
        )
    return json.loads((tmp_path / "rows.json").read_text()), end.value.code, page.read_text(), capfd.readouterr().out


def test_every_marked_test_gives_a_row_that_passed_or_did_not(matrix):
    rows, status, page, told = matrix
    assert status == 1
    found = {row["id"]: (row["figure"], row["passed"]) for row in rows}
    assert list(found) == ["1", "2a", "2b", "3", "4", "5", "10"]
    assert found == {
        "1": (None, False),
        "2a": (1.5, True),
        "2b": (2.5, False),
        "3": (None, False),
        "4": ("nothing", False),
        "5": ("0; 7", True),
        "10": ("n lost 3; n lost 4", True),
    }
    assert rows[1] == {"id": "2a", "fault": "late", "figure": 1.5, "bound": "< 2", "passed": True}
    assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
    assert "| 2b | late | 2.5 | < 2 | NO |" in page
    assert "missing: 6, 7, 8, 9, 11," in told and "failed: 1, 2b, 3, 4" in told


def test_the_command_ends_well_only_if_all_rows_are_there_and_hold(monkeypatch, capsys):
    rows = [{"id": str(n), "fault": "f", "figure": n, "bound": "b", "passed": True} for n in range(36, 0, -1)]
    monkeypatch.setattr(faults, "measure", lambda *_: rows)
    faults.main([])
    assert capsys.readouterr().out.splitlines()[1] == "1 | f | 1 | b | yes"
    with pytest.raises(SystemExit):
        rows[3]["passed"] = False
        faults.main([])
    del rows[3]
    with pytest.raises(SystemExit):
        faults.main([])


def test_a_page_without_a_place_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="has no place for the table"):
        put_between_marks(page, faults.TABLE, "table")
    assert BEGIN in Path(faults.REPOSITORY / "docs" / "reliability.md").read_text()
