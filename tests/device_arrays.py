"""NumPy behind the manners of a CUDA device: what would fail there fails here, what would wait there is counted.

CuPy refuses to mix its arrays with NumPy's, hands out scalars as arrays of no axis, and waits for the device wherever
Python asks for a number. Memory is fresh when NumPy would have it empty.
"""

from __future__ import annotations

import numpy as np

HOST_IS_WELCOME = ("array", "asarray", "ascontiguousarray")
"""Functions that upload."""


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that only functions of :class:`DeviceModule` and other arrays like it work with.

    Attributes
    ----------
    waits : int
        How often Python asked any of them for a number.
    """

    waits = 0
    tape: Tape | None = None

    def __init__(self, values):
        self._values = values

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._values, name)
        return on_device(found) if not callable(found) else lambda *a, **k: call(found, a, k)

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion of a device's array to NumPy's; use Backend.to_host")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if out is not None:
            options["out"] = out
        return call(getattr(ufunc, method), inputs, options)

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        # a view of no axis in the place of NumPy's scalar
        return call(self._values.__getitem__, (index if any(i is Ellipsis for i in index) else (*index, ...),), {})

    def __setitem__(self, index, values):
        call(self._values.__setitem__, (index, values), {}, changed=(self._values,))

    def __len__(self):
        return len(self._values)

    def _asked(self):
        Tape.refuse("brings a number to the host")
        DeviceArray.waits += 1
        return self._values

    def __float__(self):
        return float(self._asked())

    def __int__(self):
        return int(self._asked())

    def __index__(self):
        return self._asked().__index__()

    def __bool__(self):
        return bool(self._asked())

    def item(self):
        return self._asked().item()

    def tolist(self):
        return self._asked().tolist()

    def get(self):
        return np.array(self._asked())


class DeviceModule:
    """NumPy's functions for :class:`DeviceArray`; new memory holds rubbish, as a device's does."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *a, **k: call(found, a, k, host_is_welcome=name in HOST_IS_WELCOME)

    @staticmethod
    def empty(shape, dtype):
        array = np.empty(shape, dtype=dtype)
        array.view(np.uint8)[...] = 1 if dtype == np.bool_ else 0x4F  # ADU and photons of 3.5e9
        return DeviceArray(array)


class Tape:
    """What a device is told while a graph is captured, which it does not do then: all that it changes is put back.

    Done again, it reads and writes the arrays that were there, whatever Python names them by then.
    """

    def __init__(self):
        self._steps, self._before = [], {}

    @classmethod
    def refuse(cls, what):
        """Raise RuntimeError while a graph is captured."""
        if DeviceArray.tape is not None:
            raise RuntimeError(f"operation not permitted when the stream is capturing: it {what}")

    @classmethod
    def told(cls, step, changed):
        """Do `step`, which changes arrays of NumPy, and note it while a graph is captured."""
        tape = DeviceArray.tape
        if tape is not None:
            for array in changed:
                tape._before.setdefault((array.ctypes.data, array.nbytes), (array, array.copy()))
            tape._steps.append(step)
        step()

    def record(self, work):
        """Return what does again all that a device is told in `work`."""
        DeviceArray.tape = self
        try:
            work()
        finally:
            DeviceArray.tape = None
            for array, values in reversed(self._before.values()):
                array[...] = values
        return self.replay

    def replay(self):
        for step in self._steps:
            step()


def call(function, arguments, options, *, host_is_welcome=False, changed=()):
    """Call NumPy's `function` with the arrays behind `arguments`; what it returns lies on the device."""
    if host_is_welcome:
        if any(isinstance(each, np.ndarray) for each in arguments):
            Tape.refuse("uploads")
    else:
        refuse_host((*arguments, *options.values()))
    arguments, options = unwrapped(arguments), unwrapped(options)
    found = []

    def step():
        again = function(*arguments, **options)
        if not found:
            found.append(on_device(again))
        elif isinstance(found[0], DeviceArray):
            np.copyto(found[0]._values, again)

    out = options.get("out") or ()
    Tape.told(step, (*changed, *(out if isinstance(out, tuple) else (out,))))
    return found[0]


def refuse_host(value):
    """Raise TypeError for an array of the host, as CuPy does."""
    if isinstance(value, np.ndarray):
        raise TypeError(f"unsupported type {type(value)}: a device's arrays meet none of the host")
    for each in value if isinstance(value, tuple | list) else ():
        refuse_host(each)


def unwrapped(value):
    """Return `value` with NumPy's arrays in the place of a device's."""
    if isinstance(value, DeviceArray):
        return value._values
    if isinstance(value, tuple | list):
        return type(value)(unwrapped(each) for each in value)
    if isinstance(value, dict):
        return {name: unwrapped(each) for name, each in value.items()}
    return value


def on_device(value):
    """Return `value` with a device's arrays in the place of NumPy's, scalars too."""
    if isinstance(value, np.ndarray | np.generic):
        return DeviceArray(np.asarray(value))
    if isinstance(value, tuple | list) and any(isinstance(each, np.ndarray) for each in value):
        return type(value)(on_device(each) for each in value)
    return value
