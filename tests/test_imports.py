"""What importing costs, and what may be imported without Bluesky. Each case runs in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bluesky_ptycho

REPOSITORY = Path(__file__).resolve().parent.parent
BLUESKY = ("bluesky", "ophyd", "event_model", "databroker", "tiled", "bluesky_tiled_plugins")


def without(modules: tuple[str, ...]) -> str:
    """Return code that makes imports of `modules` fail."""
    return f"import sys\nsys.modules.update(dict.fromkeys({modules}))\n"


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False
    )
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
    run_python(f"{without(BLUESKY)}import bluesky_ptycho.{module}")


BEYOND_ARRAYS = (
    "PIL",
    "array_api_strict",
    "hypothesis",
    "matplotlib",
    "platformdirs",
    "pytest_timeout",
    "tqdm",
    "xdist",
)


def test_tests_for_a_card_are_found_where_only_the_array_stack_is_installed():
    asked = "-m", "gpu", "tests/recon", "tests/preprocess"
    found = run_python(
        f"{without(BLUESKY + BEYOND_ARRAYS)}import os, pytest\n"
        "os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n"
        f"sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:cacheprovider', *{asked}]))"
    )
    assert "tests/recon/" in found and "tests/preprocess/" in found


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
