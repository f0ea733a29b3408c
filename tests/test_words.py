"""Numbers as a sentence has them."""

import pytest

from bluesky_ptycho.words import counted, span


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, ("scan point",), "1 scan point"),
        (0, ("scan point",), "0 scan points"),
        (12, ("pass", "passes"), "12 passes"),
        (1, ("pass", "passes"), "1 pass"),
    ],
)
def test_one_thing_is_no_plural(number, words, said):
    assert counted(number, *words) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (48, "48 s"), (119, "119 s"), (1004, "17 min"), (7000, "117 min"), (20_000, "6 h"), (3e5, "3 days")],
)
def test_a_span_is_told_in_the_unit_that_fits(seconds, said):
    assert span(seconds) == said
