"""Run the steps one by one and keep what each of them made of a scan point."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..explanation import Explanation, StepView
from ..registry import preprocessing_steps
from .frame_checks import FrameChecks, measure_light
from .recipe import PreparedDarks, Recipe
from .stack import Context, Stack


def explain(recipe: Recipe, steps: tuple[str, ...], frame: NDArray[Any], darks: PreparedDarks) -> Explanation:
    """Return what each step makes of one scan point.

    Parameters
    ----------
    recipe : Recipe
    steps : tuple of str
        Names in order.
    frame : ndarray (K, H, W)
        Its exposures; not changed.
    darks : PreparedDarks
    """
    context, stack = Context(recipe, darks), Stack.of(frame[None])
    unit, oriented = "raw", not recipe.layout.fccd
    views: list[StepView] = []
    photons = np.nan
    for name in steps:
        before, photons_in, began = stack, photons, time.perf_counter()
        stack = preprocessing_steps[name](stack, context)
        seconds = time.perf_counter() - began
        unit, oriented = _unit_after(name, unit, recipe), oriented or name == "orient"
        photons = _photons(stack, unit, recipe)
        n_damaged, n_saturated = (int(_image(m, recipe).sum()) for m in (stack.damaged, stack.saturated))
        inside = _inside(stack, recipe)
        view = StepView(
            name=name,
            unit=unit,
            values=stack.values[0],
            damaged=stack.damaged[0] & inside,
            saturated=stack.saturated[0] & inside,
            oriented=oriented,
            photons_in=photons_in,
            photons_out=photons,
            n_damaged=n_damaged,
            n_saturated=n_saturated,
            seconds=seconds,
            changed=stack is not before,
            empty=None if inside.all() else (stack.damaged | stack.saturated)[0] & ~inside,
        )
        views.append(view)
    return Explanation(
        tuple(views), recipe.exposures_s, recipe.settings.preset, darks.corrected, _reason(stack, context)
    )


def _unit_after(name: str, unit: str, recipe: Recipe) -> str:
    if name == "photons" or (name == "flag_pixels" and not recipe.layout.fccd):
        return "photon"
    return "ADU" if name == "flag_pixels" else unit


def _inside(stack: Stack, recipe: Recipe) -> NDArray[np.bool_]:
    """Return where the image is, ``(H, W)``: masked pixels count there alone, and nothing else is damaged."""
    shape = stack.values.shape[-2:]
    if shape != recipe.frame_shape:
        return np.ones(shape, dtype=bool)
    inside = np.zeros(shape, dtype=bool)
    recipe.put_image(inside, np.ones((), dtype=bool))
    return inside


def _image(frames: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    """Return the image alone where whole frames are given."""
    return recipe.image_of(frames) if frames.shape[-2:] == recipe.frame_shape else frames


def _photons(stack: Stack, unit: str, recipe: Recipe) -> float:
    """Return the photons on the valid pixels of the image, of all exposures."""
    if unit == "raw":
        return float("nan")
    valid = _image(~(stack.damaged | stack.saturated), recipe)
    total = float(_image(stack.values, recipe).sum(where=valid, dtype=np.float64))
    return total * recipe.photons_per_adu if unit == "ADU" else total


def _reason(stack: Stack, context: Context) -> str | None:
    counts = [np.zeros(1, dtype=np.int64) if n is None else n for n in (stack.n_damaged, stack.n_saturated)]
    light = measure_light(stack.values, ~(stack.damaged | stack.saturated), context.darks.grain)
    return FrameChecks(context.recipe)(counts[0], counts[1], light).get(0)
