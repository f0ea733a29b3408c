"""A reconstruction as plain arrays, for a checkpoint: written down, and put into one that holds the frames again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..geometry import Canvas
from .learnt import OF_FRAMES, Learnt
from .state import MOST_GROWTH, ReconState, grown_canvas, move_to

Saved = Mapping[str, NDArray[Any]]
"""Name → array in host memory."""

LARGEST_CANVAS = MOST_GROWTH**2
"""So many times the planned canvas a saved one may have, as one that grew along both axes has."""

IMAGES = ("object", "object_velocity", "probe", "probe_velocity")


def to_arrays(state: ReconState) -> dict[str, NDArray[Any]]:
    """Return copies of what `state` holds, without the frames themselves.

    Returns
    -------
    dict
        The images of :data:`IMAGES`, complex64; ``canvas`` (4,) float64, rows, columns and where ``(y, x)`` pixel
        [0, 0] lies in m; of the n frames ``seq_nums`` (n,) int64, ``positions_m`` (n, 2) float64 and the arrays of
        :data:`OF_FRAMES`; ``background``, ``variation`` and ``coefficients`` where they were learnt.
    """
    host, frames, slots = state.backend.to_host, state.frames, state.frames.slots()
    learnt = Learnt.of(state, slots)
    arrays = {name: np.array(host(getattr(state, name))) for name in IMAGES}
    arrays["canvas"] = np.array([*state.canvas.shape, *state.canvas.origin_m], dtype=np.float64)
    arrays |= {"seq_nums": frames.numbers[slots], "positions_m": frames.positions_m[slots], **learnt.of_frames}
    if learnt.background is not None:
        arrays["background"] = np.array(host(learnt.background))
    if learnt.modes is not None:
        arrays["variation"] = learnt.modes
    return arrays


def put_arrays(state: ReconState, saved: Saved) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put into `state`, which holds frames already, what :func:`to_arrays` gave; all of a solver's arrays are checked.

    Frames that are not there any more, or lie elsewhere, are passed over; those that are new to `saved` stay.

    Returns
    -------
    slots, rows : ndarray (n,) int64
        Slots of the frames that `saved` knows, and their rows in its arrays.

    Raises
    ------
    MetadataError
        If an array is missing, of the wrong shape or not finite.
    """
    _check(state, saved)
    device, frames = state.backend.to_device, state.frames
    state.canvas = canvas_of(state.canvas, saved)
    for name in IMAGES:
        setattr(state, name, device(np.array(saved[name], dtype=np.complex64, order="C")))
    held = frames.slots()
    canvas = grown_canvas(state.canvas, frames.positions_m[held]) if len(held) else state.canvas
    if canvas is not state.canvas:
        move_to(state, canvas)
    slots, rows = _known(state, saved)
    background = device(np.array(saved["background"], np.float32)) if "background" in saved else None
    names = [*OF_FRAMES, *(["coefficients"] if "variation" in saved else [])]
    modes = np.array(saved["variation"], np.complex64) if "variation" in saved else None
    Learnt({name: saved[name] for name in names}, background, modes).put_back(state, slots, rows)
    return slots, rows


def rng_to_array(rng: np.random.Generator) -> NDArray[np.uint64]:
    """Return the state of a PCG64 generator, ``(6,)``: the upper and lower halves of two numbers, and two more."""
    stored: Any = rng.bit_generator.state
    halves = [half for name in ("state", "inc") for half in divmod(stored["state"][name], 2**64)]
    return np.array([*halves, stored["has_uint32"], stored["uinteger"]], dtype=np.uint64)


def rng_of(array: NDArray[np.uint64]) -> np.random.Generator:
    """Return a generator that goes on where :func:`rng_to_array` left one."""
    upper, lower, inc_upper, inc_lower, has_uint32, uinteger = (int(value) for value in array)
    rng = np.random.Generator(np.random.PCG64())
    whole = {"state": (upper << 64) + lower, "inc": (inc_upper << 64) + inc_lower}
    state = {"bit_generator": "PCG64", "state": whole, "has_uint32": has_uint32 & 1, "uinteger": uinteger % 2**32}
    rng.bit_generator.state = state
    return rng


def _known(state: ReconState, saved: Saved) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    frames, held = state.frames, state.frames.slots()
    row_of = {int(number): row for row, number in enumerate(saved["seq_nums"])}
    pairs = [(slot, row_of.get(int(frames.numbers[slot]), -1)) for slot in held.tolist()]
    same = [(s, r) for s, r in pairs if r >= 0 and np.array_equal(frames.positions_m[s], saved["positions_m"][r])]
    slots, rows = np.array(same, dtype=np.int64).reshape(-1, 2).T
    return slots, rows


def canvas_of(canvas: Canvas, saved: Saved) -> Canvas:
    """Return the grid that `saved` is on, of the pixels of `canvas`."""
    rows, cols, y, x = saved["canvas"].tolist()
    return dataclasses.replace(canvas, shape=(int(rows), int(cols)), origin_m=(y, x))


def _check(state: ReconState, saved: Saved) -> None:
    """Refuse arrays that do not belong to a reconstruction like this one."""
    n, window = len(_required(saved, "seq_nums")), state.frames.window
    _require(saved, "canvas", (4,), "f")
    side_px = np.clip(saved["canvas"][:2], -1, 2**31).astype(int)
    area = np.prod(side_px, dtype=np.float64)
    if (side_px < window).any() or area > LARGEST_CANVAS * np.prod(state.canvas.shape, dtype=np.float64):
        raise MetadataError(f"checkpoint: canvas is {side_px}; expected at most some times {state.canvas.shape}")
    image = (*state.object.shape[:-2], *side_px.tolist())
    for name in ("object", "object_velocity"):
        _require(saved, name, image, "c")
    for name in ("probe", "probe_velocity", "first_probe"):
        _require(saved, name, state.probe.shape, "c")
    _require(saved, "light", image[-2:], "f")
    _require(saved, "met", (n,), "b")
    _require(saved, "residuals", (None,), "f")
    _require(saved, "guard", (2,), "f")
    _require(saved, "rng", (6,), "u")
    for name in ("passes", "probe_start"):
        _require(saved, name, (2,), "i")
    _require(saved, "seq_nums", (n,), "i")
    for name in ("positions_m", "gain", "shift_px", "shift_speed"):
        _require(saved, name, (n,) if name == "gain" else (n, 2), "f")
    if "schedule_began" in saved:
        _require(saved, "schedule_began", (2,), "i")
    if "background" in saved:
        _require(saved, "background", window, "f")
    if "variation" in saved:
        _require(saved, "variation", (None, *window), "c")
        _require(saved, "coefficients", (n, len(saved["variation"])), "f")


def _required(saved: Saved, name: str) -> NDArray[Any]:
    if name not in saved:
        raise MetadataError(f"checkpoint: array {name!r} is missing")
    return saved[name]


def _require(saved: Saved, name: str, shape: tuple[int | None, ...], kind: str) -> NDArray[Any]:
    """Return array `name` of `saved` if it is of `shape` (None is any length), of a dtype of `kind`, and finite."""
    array = _required(saved, name)
    fits = len(array.shape) == len(shape) and all(m in (n, None) for n, m in zip(array.shape, shape, strict=True))
    if not fits or array.dtype.kind != kind or not np.isfinite(array).all():
        raise MetadataError(
            f"checkpoint: {name} is {array.dtype} {array.shape}; expected finite values of kind {kind!r}, shape {shape}"
        )
    return array
