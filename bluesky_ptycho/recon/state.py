"""What a reconstruction holds, owned by one thread."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend
from ..errors import MetadataError
from ..geometry import Canvas
from .detection import Detection
from .store import FrameStore
from .variation import Variation

WAVES = "waves"
"""What the exit waves of all frames are called in :attr:`ReconState.memory`, where an algorithm keeps them."""


@dataclass
class ReconState:
    """Object, probe and frames of one reconstruction; changed in place by the algorithms.

    Parameters
    ----------
    object : (rows, cols) or (slices, rows, cols) complex64
    probe : (modes, ny, nx) complex64
    object_velocity, probe_velocity : complex64
        What momentum carries from step to step, of the same shapes.
    frames : FrameStore
        May be shared by several states (half data sets).
    canvas : Canvas
        Grid of the object.
    detection : Detection
        How patterns arise from the waves.
    variation : Variation or None
        How the probe differs from frame to frame.
    excess : (2, ny, nx) float32 or None
        Sums of `reference.excess` since it was last set to 0, where a background is fitted.
    tracks_shifts, tracks_variation : bool
        Whether visits note what they ask of the positions and of the probe's variation.
    memory : dict
        What an algorithm keeps from pass to pass.
    """

    backend: Backend
    object: Any
    probe: Any
    object_velocity: Any
    probe_velocity: Any
    frames: FrameStore
    canvas: Canvas
    detection: Detection = field(default_factory=Detection)
    variation: Variation | None = None
    excess: Any = None
    tracks_shifts: bool = False
    tracks_variation: bool = False
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(
        cls, backend: Backend, canvas: Canvas, probe: NDArray[np.complex64], frames: FrameStore, slices: int = 1
    ) -> ReconState:
        """Return a state whose object is 1 everywhere; of one slice it has two axes, of more `slices` three."""
        xp = backend.xp
        # asarray may share memory with the caller's probe, which the solver would then change
        own = backend.to_device(np.array(probe, dtype=np.complex64, order="C"))
        image = xp.ones(canvas.shape if slices == 1 else (slices, *canvas.shape), dtype=xp.complex64)
        return cls(backend, image, own, xp.zeros_like(image), xp.zeros_like(own), frames, canvas)

    @property
    def slices(self) -> list[Any]:
        """The object's slices in the order of the beam, views ``(rows, cols)``."""
        return [self.object] if self.object.ndim == 2 else [self.object[k, ...] for k in range(self.object.shape[0])]

    @property
    def transmission(self) -> Any:
        """The object's image ``(rows, cols)``: the product of its slices."""
        return self.object if self.object.ndim == 2 else self.backend.xp.prod(self.object, axis=0)

    def rest(self) -> None:
        """Take all momentum away."""
        self.object_velocity = self.backend.xp.zeros_like(self.object)
        self.probe_velocity = self.backend.xp.zeros_like(self.probe)


MOST_GROWTH = 8


def grown_canvas(canvas: Canvas, positions_m: NDArray[np.float64], margin_px: int = 8) -> Canvas:
    """Return `canvas`, or one larger by whole pixels on which every window of `positions_m` fits.

    Growth is at least an eighth of the canvas, so that a drifting scan does not copy it each frame.

    Raises
    ------
    MetadataError
        If it would grow more than eightfold along an axis: that is no drift but a wrong position.
    """
    if canvas.contains(positions_m).all():
        return canvas
    corners = canvas.corners_px(positions_m)
    room = [max(margin_px, n // 8) for n in canvas.shape]
    below = [int(np.ceil(-low)) + more if low < 0 else 0 for low, more in zip(corners.min(axis=0), room, strict=True)]
    over = corners.max(axis=0) + np.asarray(canvas.window) - np.asarray(canvas.shape)
    above = [int(np.ceil(high)) + more if high > 0 else 0 for high, more in zip(over, room, strict=True)]
    (rows, cols), (y, x), (dy, dx) = canvas.shape, canvas.origin_m, canvas.pixel_m
    if rows + below[0] + above[0] > MOST_GROWTH * rows or cols + below[1] + above[1] > MOST_GROWTH * cols:
        wild = positions_m[np.argmax(np.abs(corners - np.array([rows, cols]) / 2).max(axis=1))]
        raise MetadataError(
            f"Batch.positions_m holds {tuple(wild.tolist())} m; expected positions within a few times the planned "
            f"extent, {rows * dy:.3g} x {cols * dx:.3g} m around ({y:.6g}, {x:.6g}) m"
        )
    return dataclasses.replace(
        canvas,
        shape=(rows + below[0] + above[0], cols + below[1] + above[1]),
        origin_m=(y - below[0] * dy, x - below[1] * dx),
    )


def offset_px(old: Canvas, new: Canvas) -> tuple[int, int]:
    """Return where pixel [0, 0] of `old` lies on `new`."""
    rows, cols = (round((a - b) / p) for a, b, p in zip(old.origin_m, new.origin_m, new.pixel_m, strict=True))
    return rows, cols


def move_to(state: ReconState, canvas: Canvas) -> None:
    """Put the state's object on the larger `canvas`, with 1 where it was not."""
    xp = state.backend.xp
    r, c = offset_px(state.canvas, canvas)
    rows, cols = state.canvas.shape
    image = xp.ones((*state.object.shape[:-2], *canvas.shape), dtype=xp.complex64)
    image[..., r : r + rows, c : c + cols] = state.object
    velocity = xp.zeros_like(image)
    velocity[..., r : r + rows, c : c + cols] = state.object_velocity
    state.object, state.object_velocity, state.canvas = image, velocity, canvas
