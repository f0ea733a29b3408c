from __future__ import annotations

import json

import pytest

from benchmarks import mutations
from benchmarks.pages import marks

SOURCE = "def least(a, b):\n    return a if a < b else b  # or both\n"
TESTS = """
from bluesky_ptycho.ordering import least

def test_least():
    assert least(2, 1) == 1

def test_wrong():
    assert least(2, 1) == 2
"""
ENTRY = """
[{name}]
row = "{row}"
guard = "the lesser of two"
file = "bluesky_ptycho/ordering.py"
source = "{source}"
replacement = "{replacement}"
test = "tests/test_ordering.py::{test}"
"""


@pytest.fixture
def tried(tmp_path, monkeypatch, capsys):
    """Try entries of a table on a small repository; return what was printed, the status, the page and the verdicts."""
    repository, page = tmp_path / "repository", tmp_path / "page.md"
    package, tests = repository / "bluesky_ptycho", repository / "tests"
    package.mkdir(parents=True)
    tests.mkdir()
    (package / "ordering.py").write_text(SOURCE)
    (tests / "test_ordering.py").write_text(TESTS)
    for empty in (package / "__init__.py", package / "pytest_plugin.py", tests / "__init__.py"):
        empty.touch()
    page.write_text("\n".join(marks(mutations.TABLE)))
    monkeypatch.setattr(mutations, "REPOSITORY", repository)
    monkeypatch.setattr(mutations, "COPIED", ("bluesky_ptycho", "tests"))

    def run(*entries):
        table, verdicts, status = tmp_path / "table.toml", tmp_path / "verdicts.json", 0
        fields = ("name", "row", "source", "replacement", "test")
        table.write_text("".join(ENTRY.format(**dict(zip(fields, entry, strict=True))) for entry in entries))
        try:
            mutations.main(["--table", str(table), "--json", str(verdicts), "--markdown", str(page)])
        except SystemExit as end:
            status = end.code
        assert (package / "ordering.py").read_text() == SOURCE, "the working tree was touched"
        found = json.loads(verdicts.read_text()) if verdicts.exists() else []
        return capsys.readouterr().out, status, page.read_text(), found

    return run


def test_a_mutation_that_its_test_notices_stands_in_the_page(tried):
    _, status, page, (verdict,) = tried(("flipped", "12", "a < b", "a > b", "test_least"))
    assert status == 0
    assert "| 12 | the lesser of two | `ordering.py` | `test_ordering.py::test_least` |" in page
    assert verdict["problem"] == "" and verdict["message"] == "assert 2 == 1"


def test_one_that_is_not_noticed_or_not_found_is_an_error(tried):
    said, status, page, _ = tried(
        ("same", "1", "or both", "or either", "test_least"),
        ("gone", "2", "a <= b", "a > b", "test_least"),
        ("found", "3", "a < b", "a > b", "test_least"),
    )
    assert status == "2 of 3 were not noticed" and "ordering" not in page
    assert "test_least did not fail: 1 passed" in said and "its source is there 0 times; expected once" in said


def test_tests_that_fail_anyway_prove_nothing(tried):
    _, status, _, found = tried(("flipped", "1", "a < b", "a > b", "test_wrong"))
    assert status.startswith("tests fail without any mutation") and not found


def test_verdicts_of_earlier_runs_make_a_table_if_they_tell_of_all_entries_as_they_are(tmp_path):
    table, page, first, second = (tmp_path / name for name in ("table.toml", "page.md", "1.json", "2.json"))
    fields = {"source": "a < b", "replacement": "a > b", "test": "test_least"}
    table.write_text("".join(ENTRY.format(name=f"entry_{row}", row=row, **fields) for row in (2, 10)))
    page.write_text("\n".join(marks(mutations.TABLE)))
    two, ten = (
        {"mutation": vars(entry), "problem": "", "message": "", "seconds": 1.0} for entry in mutations.read(table)
    )
    arguments = ["--table", str(table), "--markdown", str(page), "--from", str(first), str(second)]

    def written(*earlier):
        first.write_text(json.dumps(earlier))
        second.write_text(json.dumps([two]))
        mutations.main(arguments)
        return [line.split(" | ")[0] for line in page.read_text().splitlines()[3:-1]]

    stale = ten | {"mutation": ten["mutation"] | {"test": "tests/test_ordering.py::test_other"}}
    for earlier in ([], [stale]):
        with pytest.raises(SystemExit, match="no verdict on entry_10, as the table"):
            written(*earlier)
    with pytest.raises(SystemExit, match="1 of 2 were not noticed"):
        written(ten | {"problem": "it did not fail"})
    assert "ordering" not in page.read_text()
    assert written(ten, two | {"problem": "it did not fail"}) == ["| 2", "| 10"], "the last verdict of each counts"


def test_each_guard_of_the_table_is_there_and_its_test_too():
    for mutation in mutations.read(mutations.Path(mutations.__file__).with_suffix(".toml")):
        source = (mutations.REPOSITORY / mutation.file).read_text()
        assert source.count(mutation.source) == 1, mutation.name
        file, _, test = mutation.test.partition("::")
        assert f"def {test.partition('[')[0]}(" in (mutations.REPOSITORY / file).read_text(), mutation.name
        assert mutation.source != mutation.replacement
