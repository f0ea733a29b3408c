"""Distributions that are installed for one test: a module and its metadata in a directory on the path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bluesky_ptycho import registry

Install = Callable[..., None]


@contextmanager
def installer(place: Path) -> Iterator[Install]:
    """Give ``install(name, entry_points, files, enabled=True)``; what it installs in `place` is gone in the end."""
    before, enabled_before = set(sys.modules), registry.enabled_plugins()

    def install(
        name: str, entry_points: Mapping[str, Mapping[str, str]], files: Mapping[str, str], *, enabled: bool = True
    ) -> None:
        info = place / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [
            line
            for group, points in entry_points.items()
            for line in (f"[{group}]", *(f"{point} = {value}" for point, value in points.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for file, text in files.items():
            (place / file).write_text(text)
        if enabled:
            registry.enable_plugins(name)

    sys.path.insert(0, str(place))
    try:
        yield install
    finally:
        sys.path.remove(str(place))
        registry._enabled.clear()
        registry._enabled.update(enabled_before)
        for module in set(sys.modules) - before:
            if str(getattr(sys.modules[module], "__file__", "")).startswith(str(place)):
                del sys.modules[module]
