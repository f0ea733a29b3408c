"""The scan that the tests of callbacks share."""

import pytest

from .small_data import small_scan


@pytest.fixture(scope="module")
def scan():
    return small_scan()
