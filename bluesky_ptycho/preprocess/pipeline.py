"""One ordered, named, validated list of steps that turns raw frames into photons."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend, get_backend
from ..errors import MetadataError, SettingsError
from ..explanation import Explanation
from ..frames import CleanFrames
from ..geometry import Geometry
from ..registry import preprocessing_steps
from ..scan_plan import ScanPlan
from .chains import Chain, make_chain
from .darks import DarkModel, misfit
from .explain import explain
from .frame_checks import FrameChecks, measure_light
from .grid import output_geometry
from .presets import ORDER, SHAPING, steps_of
from .recipe import PreparedDarks, Recipe, make_recipe, prepare_darks
from .settings import PreprocessSettings
from .stack import Cleaned
from .workers import WorkerChain, workers_of

logger = logging.getLogger("bluesky_ptycho")


class Pipeline:
    """Raw frames in, photons and masks out. Made by :func:`make_pipeline`, one for each run.

    It has threads of its own, which :meth:`close`, or leaving its ``with`` block, ends; an executor that it was given
    stays as it is.

    Attributes
    ----------
    steps : tuple of str
        Names in order.
    settings : PreprocessSettings
    geometry : Geometry
        Of the patterns it gives.
    needs_darks : bool
        Whether frames of this layout mean little without darks.
    dark_problem : str or None
        Why the darks of the last call could not serve.
    """

    def __init__(
        self,
        recipe: Recipe,
        steps: tuple[str, ...],
        geometry: Geometry,
        executor: Any = None,
        backend: Backend | None = None,
    ) -> None:
        self.steps = steps
        self.settings = recipe.settings
        self.geometry = geometry
        self.needs_darks = recipe.layout.fccd
        self.dark_problem: str | None = None
        self._recipe = recipe
        self._backend = backend
        self._checks = FrameChecks(recipe)
        self._n_threads = recipe.settings.threads or os.cpu_count() or 1
        # No thread is started before there is work for it.
        self._threads = ThreadPoolExecutor(self._n_threads, thread_name_prefix="ptycho-preprocess")
        self._chain: Chain | None = None if executor is None else WorkerChain(recipe, steps, workers_of(executor))
        self._prepared: tuple[tuple[DarkModel, ...] | None, PreparedDarks] | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Compile the kernels (some seconds the first time) so that no frame has to wait for it."""
        frames = np.zeros((1, len(self._recipe.exposures_s), *self._recipe.frame_shape), dtype=np.uint16)
        self._run(frames, prepare_darks(None, self._recipe))

    def __call__(self, frames: NDArray[Any], darks: Sequence[DarkModel] | None = None) -> CleanFrames:
        """Clean frames.

        Parameters
        ----------
        frames : ndarray (n, K, H, W)
            Raw frames of n scan points with K exposures; uint16 for FCCD layouts. Not changed.
        darks : sequence of DarkModel, optional
            One for each exposure. Where they are missing or do not fit, the frames go on without,
            marked ``dark_corrected=False``; with ``strict_darks`` that is an error.

        Returns
        -------
        CleanFrames

        Raises
        ------
        MetadataError
            If frames have another shape or type than the scan plan says, or in strict mode.
        """
        self._check(frames)
        prepared = self._prepare(None if darks is None else tuple(darks))
        result = self._run(frames, prepared)
        light = measure_light(result.photons, result.mask, prepared.grain)
        rejected = self._checks(result.n_damaged, result.n_saturated, light)
        weight = result.weight if self._recipe.merges_exposures else None
        return CleanFrames(result.photons, result.mask, rejected, prepared.corrected, light.flux, weight)

    def explain(self, frame: NDArray[Any], darks: Sequence[DarkModel] | None = None) -> Explanation:
        """Tell what each step makes of one scan point; printed, the answer is a table.

        The steps are run in NumPy, whatever chain cleans the frames of the run.

        Parameters
        ----------
        frame : ndarray (K, H, W), or (H, W) for a single exposure
            Not changed.
        darks : sequence of DarkModel, optional
            As for a call.

        Raises
        ------
        MetadataError
            As for a call.
        """
        frames = frame[None] if frame.ndim == 3 else frame[None, None]
        self._check(frames)
        prepared = self._prepare(None if darks is None else tuple(darks))
        return explain(self._recipe, self.steps, frames[0], prepared)

    def close(self) -> None:
        """End the threads; no frames can be cleaned after that."""
        self._threads.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, frames: NDArray[Any]) -> None:
        expected = (len(self._recipe.exposures_s), *self._recipe.frame_shape)
        if frames.ndim != 4 or frames.shape[1:] != expected:
            wanted = ", ".join(map(str, expected))
            raise MetadataError(f"raw frames have shape {frames.shape}; the scan plan says (n, {wanted})")
        if frames.dtype.kind not in ("u" if self._recipe.layout.fccd else "uif"):
            raise MetadataError(f"raw frames have type {frames.dtype}; expected unsigned integers")
        if self._recipe.layout.fccd and frames.dtype.itemsize != 2:
            raise MetadataError(f"raw frames have type {frames.dtype}; expected uint16")

    def _prepare(self, darks: tuple[DarkModel, ...] | None) -> PreparedDarks:
        """Return the darks as the steps use them; worked out once for each set of models."""
        with self._lock:
            known = self._prepared
            if known is not None and _same(known[0], darks):
                return known[1]
            problem = misfit(darks, self._recipe.frame_shape, self._recipe.exposures_s, self.settings.gain)
            if problem is not None and self.settings.strict_darks:
                raise MetadataError(f"strict_darks: {problem}")
            if problem is not None and darks is not None:
                logger.warning("%s; going on without dark correction", problem)
            self.dark_problem = problem
            prepared = prepare_darks(darks if problem is None else None, self._recipe)
            self._prepared = (darks, prepared)
            return prepared

    def _run(self, frames: NDArray[Any], darks: PreparedDarks) -> Cleaned:
        with self._lock:
            if self._chain is None:
                self._chain = make_chain(self._recipe, self.steps, self._threads, self._n_threads, self._backend)
        return self._chain(frames, darks)


def _same(one: tuple[DarkModel, ...] | None, other: tuple[DarkModel, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def make_pipeline(
    plan: ScanPlan,
    settings: PreprocessSettings | None = None,
    backend: str | Backend = "numpy",
    *,
    executor: Any = None,
) -> Pipeline:
    """Make the pipeline for the frames of a scan plan.

    Parameters
    ----------
    plan : ScanPlan
        Its detector names the layout.
    settings : PreprocessSettings, optional
    backend : {"numpy", "auto", "cupy"} or Backend
        Where frames are cleaned; "auto" takes a CUDA device if there is one. What the device's kernels do not serve
        (other steps than preset "cosmic", other resampling than box sums of whole pixels) the CPU does.
    executor : executor, optional
        Whose workers clean the frames, instead of threads of this process: any in the manner of
        :mod:`concurrent.futures` (processes, say), or a ``dask.distributed.Client``. It is not shut down. Threads
        share memory and are quicker as long as one machine suffices. The workers use their CPUs, whatever the backend.

    Raises
    ------
    MetadataError
        If the plan's detector cannot be read.
    SettingsError, NotFoundError
        If a setting doesn't suit the frames, a step is unknown, missing or out of order, or the backend is unknown
        or cannot be used here.
    """
    chosen = get_backend(backend)
    settings = settings or PreprocessSettings()
    recipe = make_recipe(plan, settings)
    own = steps_of(settings.preset, recipe.layout)
    steps = own if settings.steps is None else settings.steps
    _check_steps(steps, own)
    if "count_photons" in steps and recipe.counts_single_photons:
        raise SettingsError(
            "preprocess.photon_threshold is None, which counts single photons in a way of its own; "
            "expected a number of photons beside the step count_photons"
        )
    return Pipeline(recipe, steps, output_geometry(plan, settings), executor, chosen)


def _check_steps(steps: tuple[str, ...], own: tuple[str, ...]) -> None:
    """Refuse unknown, repeated, missing and misplaced steps."""
    for name in steps:
        preprocessing_steps[name]  # unknown names raise
    needed = [name for name in own if name in SHAPING]
    missing = [name for name in needed if name not in steps]
    if missing or len(set(steps)) != len(steps):
        raise SettingsError(f"preprocess.steps is {steps}; expected each step once and among them {', '.join(needed)}")
    order = [ORDER.index(name) for name in steps if name in ORDER]
    if order != sorted(order):
        raise SettingsError(f"preprocess.steps is {steps}; expected the order {', '.join(ORDER)}")
