"""A backend whose CUDA device is the host: g++ compiles the very source that NVRTC compiles for a card."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np

from bluesky_ptycho.backend import Backend

from .device_arrays import DeviceArray, DeviceModule, Tape

SHIM = Path(__file__).with_name("cuda_on_host.h")
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wl,-Bsymbolic")
"""Kernels win over functions of the C library that have the same name."""
TYPES = {
    "h": np.uint8,
    "t": np.uint16,
    "i": np.int32,
    "f": np.float32,
    "d": np.float64,
    "b": np.bool_,
    "7Complex": np.complex64,
}
"""Of the Itanium C++ ABI's names of types."""

MOST_BLOCKS = (2**31 - 1, 65535)
"""CUDA's limits of a grid."""


class HostCuda(Backend):
    """Arrays with a device's manners, and kernels that run on them one thread after the other."""

    name = "cuda on the host"
    threaded = False
    cuda = True
    records = True

    def __init__(self, directory: Path):
        super().__init__(DeviceModule())
        self.directory = directory
        self.launches: list[str] = []

    def to_device(self, array):
        if isinstance(array, DeviceArray):
            return array
        Tape.refuse("uploads")
        return DeviceArray(np.array(array))  # a copy, as its memory is

    def to_host(self, array):
        return array.get() if isinstance(array, DeviceArray) else np.asarray(array)

    def floats(self, scalars):
        found = self.xp.stack([self.xp.asarray(scalar, dtype=np.float64) for scalar in scalars])
        return self.to_host(found).tolist()

    def fft2(self, a, *, overwrite=False):
        return self._transformed(super().fft2, a, overwrite)

    def ifft2(self, a, *, overwrite=False):
        return self._transformed(super().ifft2, a, overwrite)

    @staticmethod
    def _transformed(transform, a, overwrite):
        out = a._values if overwrite else np.empty_like(a._values)
        Tape.told(lambda: np.copyto(out, transform(a._values)), (out,))
        return a if overwrite else DeviceArray(out)

    def record(self, work):
        return Tape().record(work)

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
            arrays = [a._values for a in arguments if isinstance(a, DeviceArray)]

            def step(kept=held):
                run((ctypes.c_uint * 2)(*grid), ctypes.c_uint(block[0]), pointers)

            Tape.told(step, arrays)

        return kernel


def argument_for(kind: str, size: int, argument):
    """Return an array of the bytes that the kernel reads as its argument; refuse all but its own type."""
    if kind.startswith("P"):
        assert isinstance(argument, DeviceArray)
        values = argument._values
        assert values.flags.c_contiguous
        assert values.dtype == TYPES[kind.lstrip("PK")]
        return np.array(values.ctypes.data, dtype=np.uint64)
    if kind in TYPES:
        assert isinstance(argument, TYPES[kind])
        return np.array(argument)
    assert argument.size == 1
    assert argument.dtype.fields is not None
    assert argument.dtype.itemsize == size
    return argument
