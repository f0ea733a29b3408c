"""Which software made a result."""

from __future__ import annotations

import importlib.metadata

from . import __version__
from .registry import enabled_plugins

_PACKAGES = ("numpy", "scipy", "numba", "h5py", "bluesky", "ophyd", "event-model", "tiled", "bluesky-tiled-plugins")


def software_versions() -> dict[str, str]:
    """Return the versions of this package and of those that it stands on, and of plug-ins that are enabled."""
    found = {"bluesky_ptycho": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, **enabled_plugins()}
