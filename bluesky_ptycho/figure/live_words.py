"""What a live picture says in words: header, strip of facts, messages."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .live_view import LiveView
from .panels import ACCENT, INK, PALE, SECOND

Box = tuple[float, float, float, float]
"""Left, top, width and height in px of a picture of 1920 × 1080."""

STATE_COLOURS = {"live": "#1a7f37", "done": "#1a7f37", "finishing": ACCENT, "warming up": PALE}
MOST_ROWS, ROW_CHARACTERS, MOST_OF_ONE = 20, 19, 3
"""Rows of the strip, characters of a value in one, and rows of one value."""
LINES, LINE_CHARACTERS = 2, 190
"""Of the messages."""


class Header:
    """Title and state of the scan, and how much of it is measured."""

    def __init__(self, figure: Figure, box: Box) -> None:
        left, top, width, height = box
        w, h = 1920, 1080
        y = 1 - (top + 0.38 * height) / h
        self._title = figure.text(left / w, y, "Waiting for a scan", fontsize=21, color=INK, va="center")
        self._title.set_parse_math(False)
        self._state = figure.text((left + width) / w, y, "", fontsize=17, ha="right", va="center", fontweight="bold")
        self._state.set_parse_math(False)
        bar: dict[str, Any] = {"transform": figure.transFigure, "lw": 0}
        place = (left / w, 1 - (top + height) / h)
        self._whole, thick = width / w, 7 / h
        figure.add_artist(Rectangle(place, self._whole, thick, fc="#e2e5e9", **bar))
        self._done = figure.add_artist(Rectangle(place, 0, thick, fc=ACCENT, **bar))

    def show(self, view: LiveView) -> None:
        """Show title, state and points of `view`."""
        self._title.set_text(_short(view.title, 70))
        self._state.set_text(_short(view.state, 70))
        self._state.set_color(state_colour(view.state))
        self._done.set_width(self._whole * min(1.0, view.taken / max(1, view.planned)))  # type: ignore[attr-defined]


class Strip:
    """Names and values, one below the other; long values take several rows."""

    def __init__(self, figure: Figure, box: Box) -> None:
        left, top, width, height = box
        self._rows = []
        for i in range(MOST_ROWS):
            y = 1 - (top + height * (i + 0.5) / MOST_ROWS) / 1080
            name = figure.text(left / 1920, y, "", fontsize=12.5, color=PALE, va="center")
            value = figure.text((left + 0.35 * width) / 1920, y, "", fontsize=13.5, color=INK, va="center")
            value.set_parse_math(False)
            self._rows.append((name, value))

    def show(self, view: LiveView) -> None:
        """Show the facts of `view`."""
        lines = [
            (name if i == 0 else "", line)
            for name, value in view.facts
            for i, line in enumerate(textwrap.wrap(value, ROW_CHARACTERS, max_lines=MOST_OF_ONE, placeholder=" …"))
        ]
        for i, (name, value) in enumerate(self._rows):
            line = lines[i] if i < len(lines) else ("", "")
            name.set_text(line[0])
            value.set_text(line[1])


class Messages:
    """The last lines that were said, the newest below."""

    def __init__(self, figure: Figure, box: Box) -> None:
        left, top, _, _ = box
        self._text = figure.text(left / 1920, 1 - top / 1080, "", fontsize=12, color=SECOND, va="top", linespacing=1.35)
        self._text.set_parse_math(False)

    def show(self, view: LiveView) -> None:
        """Show the messages of `view`."""
        lines = [textwrap.shorten(m, LINE_CHARACTERS, placeholder=" …") for m in view.messages[-LINES:]]
        self._text.set_text("\n".join(lines))


def state_colour(state: str) -> str:
    """Return the colour in which a state is written."""
    return STATE_COLOURS.get(state, SECOND)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
