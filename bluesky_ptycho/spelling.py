"""What a person calls an argument: an option of a command at a shell, a keyword in Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_at_shell: ContextVar[bool] = ContextVar("bluesky_ptycho at a shell", default=False)


@contextmanager
def at_shell() -> Iterator[None]:
    """Call arguments by the options of commands while it lasts, in this thread."""
    token = _at_shell.set(True)
    try:
        yield
    finally:
        _at_shell.reset(token)


def spelled(argument: str, option: str = "") -> str:
    """Return the Python argument where a function was called, and the option where a command was typed.

    Parameters
    ----------
    argument : str
        "frame_rate".
    option : str
        "--frame-rate"; made of the argument unless given.
    """
    return (option or f"--{argument.replace('_', '-')}") if _at_shell.get() else argument
