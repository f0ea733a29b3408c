"""The mean of raw frames, in the coordinates of masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NotFoundError
from ..registry import preprocessing_steps
from ..scan_plan import ScanPlan
from .darks import DarkModel
from .recipe import make_recipe, prepare_darks
from .settings import PreprocessSettings
from .stack import Context, Stack

STEPS = ("descramble", "flag_pixels", "subtract_dark", "crop")


def mean_frame(
    frames: Iterable[NDArray[Any]],
    plan: ScanPlan,
    settings: PreprocessSettings | None = None,
    darks: Sequence[DarkModel] | None = None,
) -> NDArray[np.float64]:
    """Return the mean of the longest exposure over the valid pixels of frames, without dark where darks fit.

    Parameters
    ----------
    frames : iterable of ndarray (n, K, H, W)
        Raw frames of scan points, some at a time.
    plan : ScanPlan
    settings : PreprocessSettings, optional
        A mask in it counts: its pixels are unknown.
    darks : sequence of DarkModel, optional
        Fitting ones, one for each exposure.

    Returns
    -------
    ndarray (rows, columns) float64
        ADU (photons in plain frames) of the image as masks take it, NaN where no frame tells.

    Raises
    ------
    NotFoundError
        If there is no frame.
    """
    recipe = make_recipe(plan, settings or PreprocessSettings())
    context = Context(recipe, prepare_darks(darks, recipe))
    longest = list(recipe.exposure_groups[0])
    total, count = (np.zeros(recipe.grid.image_shape) for _ in range(2))
    n = 0
    for part in frames:
        for frame in part:  # one at a time bounds the memory
            stack = Stack.of(frame[None])
            for name in STEPS:
                stack = preprocessing_steps[name](stack, context)
            valid = ~stack.damaged[0, longest]
            total += np.where(valid, stack.values[0, longest], 0).sum(axis=0)
            count += valid.sum(axis=0)
            n += 1
    if not n:
        raise NotFoundError("there is no frame to take the mean of")
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
