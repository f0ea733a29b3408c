"""Array backends: the only module that imports cupy.

A backend is the array module (``xp``), the few operations that the array API standard does not
have, and the moves between host and device. Algorithms receive a backend and are written once.

FFTs are unnormalised in both directions over the last two axes; ``ifft2(fft2(a)) = a * ny * nx``.
That saves a pass over memory for each; :mod:`bluesky_ptycho.recon.reference` folds the factors
into the modulus projection.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device_recording import Plans, Recorder
from .errors import SettingsError

BACKENDS = ("auto", "numpy", "cupy")

FRAMES_SHARE = 0.6
"""Share of a device's free memory that frames may take; waves, sums and half data sets need the rest."""


class Backend:
    """NumPy on the host; the base of the other backends.

    Attributes
    ----------
    name : str
        "numpy", "cupy", …
    xp : module
        Array module with the array API's names.
    threaded : bool
        True where the fused CPU kernels work on this backend's arrays.
    cuda : bool
        True where :meth:`compile_cuda` makes kernels for this backend's arrays.
    records : bool
        True where :meth:`record` works.
    """

    name = "numpy"
    threaded = True
    cuda = False
    records = False

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp

    def to_device(self, array: Any) -> Any:
        """Return `array` as an array of this backend (copied only where needed)."""
        return self.xp.asarray(array)

    def to_host(self, array: Any) -> NDArray[Any]:
        """Return `array` as a NumPy array."""
        return np.asarray(array)

    def floats(self, scalars: Iterable[Any]) -> list[float]:
        """Return numbers and scalars of this backend as floats, in one transfer."""
        return [float(scalar) for scalar in scalars]

    def fft2(self, a: Any, *, overwrite: bool = False) -> Any:
        """Transform the last two axes, unnormalised; complex64 in, complex64 out; may use `a` up if told so."""
        return _scipy_fft2(a, overwrite)

    def ifft2(self, a: Any, *, overwrite: bool = False) -> Any:
        """Transform the last two axes back, unnormalised (no division by ny * nx)."""
        return _scipy_ifft2(a, overwrite)

    def gather(self, image: Any, corners: NDArray[np.int64], shape: tuple[int, int]) -> Any:
        """Return the windows ``(n, ny, nx)`` of a 2-D `image` whose first pixels are `corners` ``(n, 2)``."""
        ny, nx = shape
        return self.xp.stack([image[r : r + ny, c : c + nx] for r, c in corners.tolist()])

    def scatter_add(self, image: Any, corners: NDArray[np.int64], windows: Any) -> None:
        """Add the `windows` ``(n, ny, nx)`` into `image` in place; overlaps add up."""
        ny, nx = windows.shape[-2:]
        for i, (r, c) in enumerate(corners.tolist()):
            image[r : r + ny, c : c + nx] += windows[i, ...]

    def zeros_of_frames(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return zeros for what is kept of all frames and read once a pass."""
        return self.xp.zeros(shape, dtype=dtype)

    def put(self, array: Any, index: NDArray[np.int64], values: Any) -> None:
        """Set ``array[index]`` in place; `index` ``(n,)`` holds no number twice."""
        for i, row in enumerate(index.tolist()):
            array[row, ...] = values[i, ...]

    def synchronize(self) -> None:
        """Wait until the device has done what it was told."""

    def compile_cuda(
        self, source: str, names: Sequence[str], *, fused_multiply_add: bool = False
    ) -> list[Callable[..., None]]:
        """Compile CUDA C and return its ``extern "C"`` kernels of these names.

        A kernel takes ``(grid, block, arguments)``: numbers of blocks and of threads in a block, and a tuple of
        arrays of this backend, NumPy scalars of the kernel's own types, and NumPy arrays of one record
        for structs passed by value. With `fused_multiply_add` results may differ from the host's in the last bit.

        Raises
        ------
        NotImplementedError
            Unless :attr:`cuda` is True.
        """
        raise NotImplementedError(f"backend {self.name!r} has no CUDA device")

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Return what does again all that `work` has the device do, at one call; `work` is called, but not done.

        Parameters
        ----------
        work : callable
            It may not bring anything to the device or back, nor ask for a number, and has been done before: kernels
            are compiled and transforms planned.

        Returns
        -------
        callable
            It reads and writes the very arrays that `work` did when it was called.

        Raises
        ------
        NotImplementedError
            Unless :attr:`records` is True. Else errors of the device, where it cannot be recorded.
        """
        raise NotImplementedError(f"backend {self.name!r} records nothing")

    def give_back(self) -> None:
        """Free the memory that recordings worked in which are gone."""


class CupyBackend(Backend):
    """One CUDA device through cupy."""

    name = "cupy"
    threaded = False
    cuda = True
    records = True

    def __init__(self) -> None:
        import cupy
        import cupyx
        import cupyx.scipy.fft

        super().__init__(cupy)
        self._scatter_add: Callable[..., None] = cupyx.scatter_add
        self._fft: Any = cupyx.scipy.fft
        self._plans = Plans()
        self._recorder = Recorder(cupy.cuda, self._plans)

    def to_host(self, array: Any) -> NDArray[Any]:
        """Return `array` as a NumPy array."""
        return np.asarray(self.xp.asnumpy(array))

    def floats(self, scalars: Iterable[Any]) -> list[float]:
        """Wait once for all of them."""
        found = [self.xp.asarray(scalar, dtype=self.xp.float64) for scalar in scalars]
        return [float(number) for number in self.to_host(self.xp.stack(found))]

    def fft2(self, a: Any, *, overwrite: bool = False) -> Any:
        """Transform with cuFFT, in place where `a` may be used up; plans of the last shapes are kept."""
        return self._fft.fft2(a, overwrite_x=overwrite, plan=self._plan(a) if overwrite else None)

    def ifft2(self, a: Any, *, overwrite: bool = False) -> Any:
        """Transform back with cuFFT, unnormalised."""
        return self._fft.ifft2(a, norm="forward", overwrite_x=overwrite, plan=self._plan(a) if overwrite else None)

    def _plan(self, a: Any) -> Any:
        return self._plans.get(a.shape, lambda: self._fft.get_fft_plan(a, axes=(-2, -1)))

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Capture a CUDA graph, see :mod:`bluesky_ptycho.device_recording`."""
        return self._recorder.record(work)

    def give_back(self) -> None:
        """Free the memory of graphs that are gone."""
        self._recorder.give_back()

    def _indices(self, corners: NDArray[np.int64], shape: tuple[int, int]) -> tuple[Any, Any]:
        where = self.xp.asarray(corners)
        rows = where[:, 0, None, None] + self.xp.arange(shape[0])[None, :, None]
        cols = where[:, 1, None, None] + self.xp.arange(shape[1])[None, None, :]
        return rows, cols

    def gather(self, image: Any, corners: NDArray[np.int64], shape: tuple[int, int]) -> Any:
        """Return the windows with one indexing kernel."""
        return image[self._indices(corners, shape)]

    def scatter_add(self, image: Any, corners: NDArray[np.int64], windows: Any) -> None:
        """Add with atomics; complex images through their real view, which cupyx needs."""
        rows, cols = self._indices(corners, windows.shape[-2:])
        if image.dtype.kind != "c":
            self._scatter_add(image, (rows, cols), windows)
            return
        parts = image.view(image.real.dtype).reshape(*image.shape, 2)
        self._scatter_add(parts[..., 0], (rows, cols), windows.real)
        self._scatter_add(parts[..., 1], (rows, cols), windows.imag)

    def zeros_of_frames(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return zeros on the device, or where they would leave it too little room, in the host's page-locked memory.

        Kernels read that across the bus, while others compute: each number is read once a pass.
        """
        free, _ = self.xp.cuda.runtime.memGetInfo()
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if n_bytes <= FRAMES_SHARE * free:
            return self.xp.zeros(shape, dtype=dtype)
        cuda = self.xp.cuda
        locked = cuda.alloc_pinned_memory(n_bytes)
        np.frombuffer(locked, np.uint8, n_bytes)[:] = 0
        # Under unified addressing, which all 64-bit systems have, the host's pointer is the device's too.
        memory = cuda.UnownedMemory(locked.ptr, n_bytes, locked, cuda.Device().id)
        return self.xp.ndarray(shape, dtype=dtype, memptr=cuda.MemoryPointer(memory, 0))

    def put(self, array: Any, index: NDArray[np.int64], values: Any) -> None:
        """Set the rows with one indexing kernel."""
        array[self.xp.asarray(index)] = values

    def synchronize(self) -> None:
        """Wait for the current stream."""
        self.xp.cuda.get_current_stream().synchronize()

    def compile_cuda(
        self, source: str, names: Sequence[str], *, fused_multiply_add: bool = False
    ) -> list[Callable[..., None]]:
        """Compile with NVRTC; cupy keeps the machine code on disk for the next process."""
        fused = "true" if fused_multiply_add else "false"
        module = self.xp.RawModule(code=source, options=(f"--fmad={fused}",))
        return [module.get_function(name) for name in names]


def get_backend(name: str | Backend = "auto") -> Backend:
    """Return a backend by name.

    Parameters
    ----------
    name : {"auto", "numpy", "cupy"} or Backend
        "auto" takes a CUDA device where cupy finds one, else NumPy. A Backend is returned as it is.

    Raises
    ------
    SettingsError
        If `name` is unknown, or "cupy" is asked for and cannot be used here.
    """
    if isinstance(name, Backend):
        return name
    if name not in BACKENDS:
        raise SettingsError(f"backend is {name!r}; expected one of {', '.join(map(repr, BACKENDS))}")
    if name == "numpy" or (name == "auto" and not cupy_usable()):
        return Backend()
    if not cupy_usable():
        raise SettingsError("backend is 'cupy'; expected cupy installed and a CUDA device that answers")
    return CupyBackend()


def cupy_usable() -> bool:
    """Tell whether cupy is installed and sees a device."""
    if importlib.util.find_spec("cupy") is None:
        return False
    try:
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except Exception:  # cupy without a driver raises errors of its own and of the loader
        return False


def cpu_count() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _scipy_fft2(a: Any, overwrite: bool = False) -> Any:
    import scipy.fft

    return scipy.fft.fft2(a, overwrite_x=overwrite)


def _scipy_ifft2(a: Any, overwrite: bool = False) -> Any:
    import scipy.fft

    return scipy.fft.ifft2(a, norm="forward", overwrite_x=overwrite)
