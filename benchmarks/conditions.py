"""What every benchmark says of the machine and the software, and how it ends."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from bluesky_ptycho.backend import cpu_count
from bluesky_ptycho.versions import software_versions


def conditions() -> dict[str, Any]:
    """Return threads (the cores this process may use), processor, load now, and versions."""
    versions = software_versions()
    return {
        "threads": cpu_count(),
        "processor": processor(),
        "load_average_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: versions[name] for name in ("bluesky_ptycho", "numpy", "scipy", "numba")}
        | installed("pyFFTW"),
    }


def installed(*distributions: str) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Return the processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write(figures: dict[str, Any], path: Path | None) -> None:
    """Print the figures, and write them to `path` if there is one."""
    text = json.dumps(figures, indent=1, allow_nan=False)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")


def run_command(main: Callable[[], None]) -> None:
    """Run a benchmark's command; Ctrl-C ends it with a line instead of a traceback."""
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
