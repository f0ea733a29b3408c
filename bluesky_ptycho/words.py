"""Numbers as a sentence has them."""

from __future__ import annotations


def counted(number: int, what: str, plural: str = "") -> str:
    """Return a number of things in words: "1 scan", "2 scans"; `plural` where an s does not make it."""
    return f"{number} {what if number == 1 else plural or f'{what}s'}"


def span(seconds: float) -> str:
    """Return how long something has been, as a person says it: "48 s", "17 min", "3 h", "2 days"."""
    if seconds < 120:
        return f"{max(seconds, 0.0):.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"
