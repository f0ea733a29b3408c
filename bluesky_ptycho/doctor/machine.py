"""Checks of this machine and of what is installed on it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from .. import registry
from ..backend import cpu_count, cupy_usable
from ..io.hdf5 import physical_memory
from ..planned_fft import has_fftw
from ..plans.skeleton import memory_free
from ..versions import software_versions
from .findings import Finding, bad, good, note

LEAST_MEMORY_GB = 4.0
LEAST_CORES = 2
LEAST_DISK_GB, LITTLE_DISK_GB = 1.0, 20.0
"""Below the first nothing more can be measured; a demonstration takes 1 GB, a large scan 20."""
DISTRIBUTION = "bluesky-ptycho"
QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


def check_versions() -> Iterator[Finding]:
    """Compare what is installed with what this package wants."""
    from packaging.requirements import Requirement

    wrong = []
    try:
        required = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    for text in required:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append((f"{wanted.name} is not installed", str(wanted)))
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append((f"{wanted.name} is {found}, expected {wanted.specifier}", str(wanted)))
    for problem, wanted_text in wrong:
        yield bad("versions", problem, f"python -m pip install --upgrade '{wanted_text}'")
    if not wrong:
        listed = ", ".join(f"{name} {version}" for name, version in software_versions().items())
        yield good("versions", f"Python {platform.python_version()}, {listed}")


def check_cores_and_memory() -> Iterator[Finding]:
    """Look at what there is to compute with."""
    cores = cpu_count()
    what = f"{cores} core{'s' if cores > 1 else ''}, {platform.machine()}, {platform.system()} {platform.release()}"
    yield (
        good("cores", what)
        if cores >= LEAST_CORES
        else note("cores", what, f"{LEAST_CORES} or more keep up with a scan; a slower frame rate does with fewer")
    )
    total = physical_memory()
    free = memory_free()
    total_gb, free_gb = total / 1e9, (total if free is None else free) / 1e9
    what = f"{free_gb:.1f} of {total_gb:.1f} GB free"
    if free_gb < LEAST_MEMORY_GB / 4:
        yield bad("memory", what, "end other programs, or set memory_budget, e.g. --set memory_budget='500 MB'")
    elif total_gb < LEAST_MEMORY_GB:
        yield note("memory", what, f"{LEAST_MEMORY_GB:g} GB or more are usual; memory_budget keeps frames on the disk")
    else:
        yield good("memory", what)


def check_disk(places: dict[str, Path]) -> Iterator[Finding]:
    """Look how much room there is where frames and results go; `places` by what they are for."""
    for what, place in places.items():
        there = next((p for p in (place, *place.parents) if p.exists()), Path("/"))
        free_gb = shutil.disk_usage(there).free / 1e9
        text, name = f"{free_gb:.1f} GB free for {what} in {place}", "disk"
        if not os.access(there, os.W_OK):
            yield bad(name, f"{what} cannot be written to {place}", "ask for the right to write there, or name another")
        elif free_gb < LEAST_DISK_GB:
            yield bad(name, text, "make room, or name another directory")
        elif free_gb < LITTLE_DISK_GB:
            yield note(name, text, "a large scan takes some ten GB of frames")
        else:
            yield good(name, text)


def check_libraries() -> Iterator[Finding]:
    """Tell which library makes the transforms, and whether there are a GPU and windows."""
    if has_fftw():
        yield good("FFT", f"FFTW (pyFFTW {importlib.metadata.version('pyFFTW')})")
    else:
        yield note("FFT", "SciPy's", "python -m pip install 'bluesky-ptycho[fftw]' is faster on many machines (GPL)")
    if cupy_usable():
        import cupy

        device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        yield good("GPU", f"{device}, CuPy {cupy.__version__}")
    elif importlib.util.find_spec("cupy") is not None:
        yield note(
            "GPU", "CuPy is installed, but finds no CUDA card", "see nvidia-smi; the CPU does the work meanwhile"
        )
    else:
        yield note("GPU", "none is used", "with a CUDA card: python -m pip install 'bluesky-ptycho[gpu]'")
    bindings = [name for name in QT_BINDINGS if importlib.util.find_spec(name) is not None]
    if not bindings:
        yield note("Qt", "not installed: pictures go to files", "python -m pip install PyQt6 gives windows")
    elif sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        yield note("Qt", f"{bindings[0]}, but there is no display", "ssh -X, or a desktop session, has one")
    else:
        yield good("Qt", bindings[0])


def check_plugins() -> Iterator[Finding]:
    """Load what enabled plug-ins offer; name those that are installed and off."""
    tables = (registry.detectors, registry.preprocessing_steps, registry.algorithms, registry.sinks)
    enabled = registry.enabled_plugins()
    offered = {d.dist.name for t in tables for d in importlib.metadata.entry_points(group=t.group or "") if d.dist}
    for table in tables:
        for point in importlib.metadata.entry_points(group=table.group or ""):
            if point.dist is None or point.dist.name.lower().replace("_", "-") not in enabled:
                continue
            try:
                table[point.name]
            except Exception as error:  # whatever somebody else's module does when it is imported
                yield bad("plug-ins", str(error), f"mend or leave out --plugin {point.dist.name}")
    off = sorted(name for name in offered if name.lower().replace("_", "-") not in enabled)
    on = ", ".join(f"{name} {version}" for name, version in enabled.items()) or "none enabled"
    yield good("plug-ins", on + (f"; installed, but off: {', '.join(off)}" if off else ""))
