"""Other programs on the same work, to compare with: the installed ones of the extra ``peers``.

``pip install '.[test,peers]'`` installs pty-chi, PtyLab, cdtools and torch: several GB. One module of this package
adapts one program; it has ``DISTRIBUTION``, its name in the package index, and ``ENGINES``: names with functions of a
workload and the passes to be made, which return a :class:`Reconstruction`. With ``ANNEALED`` the passes depend on how
many there will be, so each number of passes is a run of its own.

All have the same frames, positions (whole pixels), first probe and number of threads, and an object of ones to start
from. Settings are the program's own defaults but for those that its module names. Each engine runs in a process of its
own (``python -m benchmarks.peers``), one after the other: a first reconstruction makes one pass to warm up and then the
passes that are timed, another one is followed from its start.
"""

from __future__ import annotations

from importlib import import_module, metadata, util
from typing import Any, Protocol

import numpy as np

MODULES = ("ptylab", "ptychi", "cdtools")


class Reconstruction(Protocol):
    """What an engine makes of a workload."""

    def step(self, n: int) -> None:
        """Make `n` passes over all frames."""

    def object(self) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the object ``(rows, cols) complex``, and the truth's pixel that its pixel ``[0, 0]`` is."""


def adapter(name: str) -> Any:
    """Return the module that adapts a program."""
    return import_module(f"{__name__}.{name}")


def missing(name: str) -> str | None:
    """Return why a program cannot run here, None if it can be tried."""
    distribution = adapter(name).DISTRIBUTION
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"{distribution} is not installed: pip install '.[peers]'"
    return None if util.find_spec("torch") or name == "ptylab" else "torch is not installed"
