"""What importing costs, and what may be imported without Bluesky. Each case runs in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bluesky_ptycho

BLUESKY = ("bluesky", "ophyd", "event_model", "databroker", "tiled", "bluesky_tiled_plugins")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy():
    heavy = (*BLUESKY, "numpy", "scipy", "h5py", "matplotlib", "numba", "dask")
    loaded = run_python(f"import sys, bluesky_ptycho; print(sorted(set({heavy}) & set(sys.modules)))")
    assert loaded.strip() == "[]"


def test_the_command_line_answers_without_loading_bluesky():
    code = (
        "import sys\nfrom bluesky_ptycho.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit as leave:\n    assert leave.code == 0\n"
        f"print(sorted(set({(*BLUESKY, 'numba', 'scipy')}) & set(sys.modules)))"
    )
    assert run_python(code).splitlines()[-1] == "[]"


ANALYSIS = ("recon", "preprocess", "geometry", "backend", "io", "figure", "scan_plan", "frames", "settings")


@pytest.mark.parametrize("module", ANALYSIS)
def test_analysis_imports_where_bluesky_is_not_installed(module):
    blocked = f"import sys\nfor name in {BLUESKY}:\n    sys.modules[name] = None  # makes its import fail\n"
    run_python(f"{blocked}import bluesky_ptycho.{module}")


def test_every_public_name_is_there():
    run_python(
        "import bluesky_ptycho as package\n"
        "assert len(package.__all__) > 5\n"
        "for name in package.__all__:\n"
        "    first = getattr(package, name)\n"
        "    assert getattr(package, name) is first, name  # importing a module must not take its place\n"
        "assert set(package.__all__) <= set(dir(package))"
    )


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"bluesky_ptycho.*nothing"):
        _ = bluesky_ptycho.nothing
