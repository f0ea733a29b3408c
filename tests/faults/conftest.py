"""The fault matrix: ``@pytest.mark.fault(id, fault, bound=...)`` makes a row, the fixture `figure` its measured figure.

With ``--faults-json FILE`` every marked test gives its row, whether it passed, failed, was skipped or never ran.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from .rows import Row, Rows

ROWS = pytest.StashKey[Rows]()
ROW = pytest.StashKey[Row]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-json", type=Path, metavar="FILE", help="write the fault matrix's rows as JSON")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rows = config.stash[ROWS] = Rows(config.getoption("--faults-json", None))
    for item in items:
        if (marker := item.get_closest_marker("fault")) is not None:
            item.stash[ROW] = rows.expect(item.nodeid, *marker.args, **marker.kwargs)
    rows.write()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (row := item.stash.get(ROW, None)) is not None:
        if call.when == "call":
            row.outcomes[item.nodeid] = report.passed and not hasattr(report, "wasxfail")
        elif not report.passed:
            row.outcomes[item.nodeid] = False
        item.config.stash[ROWS].write()
    return report


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Give what was measured to the test's row, as :meth:`Row.measured` takes it."""
    return request.node.stash[ROW].measured


@pytest.fixture
def time_counts(pytestconfig: pytest.Config) -> bool:
    """Whether times are those of this test: beside the tests of other workers they are of those, too."""
    return not hasattr(pytestconfig, "workerinput")
