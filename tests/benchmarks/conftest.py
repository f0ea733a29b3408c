from __future__ import annotations

import importlib.util
import types
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_bench(real_data: Path) -> Callable[[str], types.ModuleType]:
    """Return a function that loads a reference generator which lies beside the measured data; skips without."""

    def load(name: str) -> types.ModuleType:
        path = real_data.parent / "bench" / f"{name}.py"
        if not path.is_file():
            pytest.skip(f"no reference generator: {path} does not exist")
        spec = importlib.util.spec_from_file_location(f"shared_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
