"""Live ptychography inside Bluesky: documents in, images out, while the scan runs.

Importing the package costs nothing: names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "LivePtycho": "bluesky_ptycho.callbacks",
    "LivePtychoFigure": "bluesky_ptycho.callbacks",
    "LiveSettings": "bluesky_ptycho.callbacks",
    "attach": "bluesky_ptycho.session",
    "convert": "bluesky_ptycho.converting",
    "ingest": "bluesky_ptycho.ingesting",
    "enable_plugins": "bluesky_ptycho.registry",
    "resume": "bluesky_ptycho.resuming",
    "open_catalog": "bluesky_ptycho.catalog",
    "write_profile": "bluesky_ptycho.catalog",
    "make_beamline": "bluesky_ptycho.sim",
    "ReconControl": "bluesky_ptycho.devices",
    "ptycho_scan": "bluesky_ptycho.plans",
    "ptycho_fly_scan": "bluesky_ptycho.plans",
    "IncrementalSolver": "bluesky_ptycho.recon",
}

__all__ = ["__version__", *sorted(_LAZY)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
