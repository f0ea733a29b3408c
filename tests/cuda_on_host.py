"""A backend whose CUDA device is the host: g++ compiles the very source that NVRTC compiles for a card."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np

from bluesky_ptycho.backend import Backend

SHIM = Path(__file__).with_name("cuda_on_host.h")
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wl,-Bsymbolic")
"""Kernels win over functions of the C library that have the same name."""
TYPES = {"t": np.uint16, "i": np.int32, "f": np.float32, "b": np.bool_, "7Complex": np.complex64}
"""Of the Itanium C++ ABI's names of types."""

MOST_BLOCKS = (2**31 - 1, 65535)
"""CUDA's limits of a grid."""


class DeviceArrays:
    """NumPy, but new memory holds rubbish, as a device's does."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def empty(shape, dtype):
        array = np.empty(shape, dtype=dtype)
        array.view(np.uint8)[...] = 1 if dtype == np.bool_ else 0x4F  # ADU and photons of 3.5e9
        return array


class HostCuda(Backend):
    """NumPy's arrays, and kernels that run on them one thread after the other."""

    name = "cuda on the host"
    threaded = False
    cuda = True

    def __init__(self, directory: Path):
        super().__init__(DeviceArrays())
        self.directory = directory
        self.launches: list[str] = []

    def to_device(self, array):
        return np.array(array)  # a copy, as a device's memory is

    def compile_cuda(self, source, names, *, fused_multiply_add=False):
        stem = hashlib.sha256(source.encode()).hexdigest()[:16]
        unit, library = (self.directory / f"{stem}.{ending}" for ending in ("cpp", "so"))
        exports = "".join(f"EXPORT({name})\n" for name in names)
        unit.write_text(f'#include "{SHIM}"\n#line 1 "kernels.cu"\n{source}\n{exports}')
        if not library.exists():  # it cannot be replaced while it is loaded
            subprocess.run([COMPILER, *FLAGS, "-o", library, unit], check=True)
        loaded = ctypes.CDLL(str(library))
        return [self._kernel(loaded, name) for name in names]

    def _kernel(self, library, name):
        run, describe = getattr(library, f"launch_{name}"), getattr(library, f"signature_{name}")
        describe.restype = ctypes.c_char_p
        parameters = [entry.rsplit(":", 1) for entry in describe().decode().split()]

        def kernel(grid, block, arguments):
            self.launches.append(name)
            assert len(arguments) == len(parameters)
            assert all(0 < n <= most for n, most in zip(grid, MOST_BLOCKS, strict=True))
            held = [argument_for(kind, int(size), a) for (kind, size), a in zip(parameters, arguments, strict=True)]
            pointers = (ctypes.c_void_p * len(held))(*[a.ctypes.data for a in held])
            run((ctypes.c_uint * 2)(*grid), ctypes.c_uint(block[0]), pointers)

        return kernel


def argument_for(kind: str, size: int, argument):
    """Return an array of the bytes that the kernel reads as its argument; refuse all but its own type."""
    if kind.startswith("P"):
        assert isinstance(argument, np.ndarray)
        assert argument.flags.c_contiguous
        assert argument.dtype == TYPES[kind.lstrip("PK")]
        return np.array(argument.ctypes.data, dtype=np.uint64)
    if kind in TYPES:
        assert isinstance(argument, TYPES[kind])
        return np.array(argument)
    assert argument.size == 1
    assert argument.dtype.fields is not None
    assert argument.dtype.itemsize == size
    return argument
