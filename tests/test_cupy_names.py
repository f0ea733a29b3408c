"""Array functions that the package calls must be CuPy's too; its names can be looked up where there is no card."""

import re
from pathlib import Path

import pytest

import bluesky_ptycho.recon

CALLED = re.compile(r"\bxp\.([a-z]\w*)")


def test_all_array_functions_are_cupys():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed; python -m pip install '.[gpu]'")
    package = Path(bluesky_ptycho.recon.__file__).parent.parent
    called = {name for path in package.rglob("*.py") for name in CALLED.findall(path.read_text("utf-8"))}
    assert "astype" in called
    assert [name for name in sorted(called) if not hasattr(cupy, name)] == []
