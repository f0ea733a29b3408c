"""A small state, and the same done with it by the kernels and by the array code."""

import numpy as np
import pytest

from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Canvas
from bluesky_ptycho.recon.array_engine import ArrayEngine
from bluesky_ptycho.recon.device_engine import DeviceEngine
from bluesky_ptycho.recon.state import ReconState
from bluesky_ptycho.recon.store import FrameStore

from .backends import UnfusedBackend

WINDOW, CANVAS = (18, 14), (40, 37)
N = 5


summed = pytest.mark.parametrize("tiled", [False, True], ids=["atomics", "tiles"])


def complex_noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


WHOLE = [[0, 0], [3, 5], [4, 5], [22, 23], [22, 0]]
"""At the rim of the object, and on top of each other."""
FRACTIONAL = [[0.25, 0.5], [3.7, 5.2], [4.0, 5.9], [21.3, 22.01], [21.9, 0]]
MIXED = [[0, 0], [3.7, 5.2], [4, 5], [21.3, 22.01], [22, 0]]
placed = pytest.mark.parametrize("corners", [WHOLE, FRACTIONAL, MIXED], ids=["whole", "fractional", "mixed"])


def make_state(backend, corners=MIXED, modes=3, *, weights=False, window=WINDOW, canvas=CANVAS):
    """Return a state of noise, the same on each backend; some pixels are not valid, some are dark."""
    rng = np.random.default_rng(11)
    n = len(corners)
    grid = Canvas(canvas, (0.0, 0.0), (1.0, 1.0), window)
    frames = FrameStore(n, window, backend, subpixel=True, keeps_weights=weights)
    frames.weighing = weights
    amplitude = rng.random((n, *window)).astype(np.float32) * 4
    amplitude[:, 1], amplitude[-1] = 0, 0
    mask = rng.random((n, *window)) > 0.1
    weight = rng.random((n, *window)).astype(np.float32) if weights else None
    middle = np.asarray(corners, float) + np.array(window) // 2
    frames.put(Batch(np.arange(n), middle, amplitude, mask, weight), grid)
    state = ReconState.start(backend, grid, complex_noise(rng, modes, *window), frames)
    for name in ("object", "object_velocity", "probe_velocity"):
        setattr(state, name, backend.to_device(complex_noise(rng, *getattr(state, name).shape)))
    return state


class Both:
    """The same done by the kernels and by the array code."""

    def __init__(self, backend, *arguments, tiled=None, **options):
        plain = UnfusedBackend()
        self.engines = DeviceEngine(backend, tiled=tiled), ArrayEngine(plain)
        self.states = make_state(backend, *arguments, **options), make_state(plain, *arguments, **options)

    def each(self, do):
        """Return ``do(engine, state)`` of both, on the host."""
        return [
            state.backend.to_host(do(engine, state)) for engine, state in zip(self.engines, self.states, strict=True)
        ]

    def visit(self, do):
        """Return what ``do(lane, state, slots)`` returns in a visit of all frames, and the totals, of both."""
        found = []
        for engine, state in zip(self.engines, self.states, strict=True):
            slots = np.random.default_rng(2).permutation(state.frames.slots())
            here = []

            def visit(lane, chunk, state=state, here=here):
                here.append(do(lane, state, chunk))

            total = engine.run(state, slots, visit)
            engine.read_notes(state)
            (waves,) = here
            found.append((state.backend.to_host(waves) if waves is not None else None, float(total)))
        return [waves for waves, _ in found], [total for _, total in found]

    def sums(self):
        """Return the sums of both engines, by name."""
        sums = [engine._ensure(state) for engine, state in zip(self.engines, self.states, strict=True)]
        return {
            name: [state.backend.to_host(getattr(s, name)) for s, state in zip(sums, self.states, strict=True)]
            for name in vars(sums[0])
        }


def same(found, rtol=1e-5):
    """Compare with what the array code found, relative to its largest value."""
    ours, expected = found
    np.testing.assert_allclose(*np.broadcast_arrays(ours, expected), rtol=rtol, atol=rtol * np.abs(expected).max())
    assert np.any(expected)


def gradients(lane, state, slots):
    probes = lane.probes(state, slots)
    waves = lane.project(state, slots, lane.exit_waves(state, slots, probes))
    lane.accumulate(state, slots, probes, waves)
