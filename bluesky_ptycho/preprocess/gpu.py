"""Preset "cosmic" on a CUDA device: ``cuda/clean.cu`` over many frames at once.

Raw frames travel as uint16 and patterns come back to the host: they are an eighth of the frames' size, and what
looks at them next (checks, solver, sinks) begins on the host, whatever the solver's backend.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import Backend
from .layouts import GAIN_BITS, N_CHANNELS, N_SLOTS, OVERSCAN_SLOTS
from .overscan import bias_of, limits_of
from .recipe import PreparedDarks, Recipe
from .single_photons import (
    BORROWED,
    CELL,
    DARKEST,
    FIRST_THRESHOLD,
    HIGHEST,
    LOWEST,
    N_WORTHS,
    NEAR,
    SINGLE,
    WIDE,
    SinglePhotons,
)
from .stack import Cleaned
from .work import exposure_table

KERNELS = (
    "read_overscan", "find_background", "make_image", "count_cells", "sum_wide", "count_singles", "sum_boxes"
)  # fmt: skip
RUN = np.dtype(
    [(name, np.int32) for name in (
        "words", "rows", "columns", "channels", "exposures", "times", "gain_bits", "window", "down", "across",
        "binning", "first_row", "first_column", "has_factor",
    )] + [(name, np.float32) for name in ("worst", "single", "photons_per_adu", "floor")]
)  # fmt: skip
"""The kernels' ``struct Run``, field by field."""
SINGLES = np.dtype(
    [(name, np.int32) for name in ("cell", "last", "near", "wide")] + [(name, np.float32) for name in (
        "first_threshold", "first_worth", "first_false", "single", "variance", "borrowed", "darkest", "lowest",
        "highest",
    )]
)  # fmt: skip
"""The kernels' ``struct Singles``, field by field."""
THREADS = 128
"""In a block: enough to hide memory's latency, few enough that a frame fills every multiprocessor."""
BATCH_BYTES = 1 << 27
"""Raw frames on the device at once; what the kernels need beside them is about twice as much again."""


class GpuChain:
    """Preset "cosmic" with box sums of whole raw pixels, by one photon threshold or by each pixel's own.

    Parameters
    ----------
    recipe : Recipe
        Of an FCCD layout.
    backend : Backend
        One that compiles CUDA.
    """

    def __init__(self, recipe: Recipe, backend: Backend) -> None:
        self._recipe, self._backend = recipe, backend
        source = resources.files(__package__).joinpath("cuda", "clean.cu").read_text("utf-8")
        self._kernels = dict(zip(KERNELS, backend.compile_cuda(source, KERNELS), strict=True))
        places = recipe.in_place(np.arange(np.prod(recipe.frame_shape), dtype=np.int32).reshape(recipe.frame_shape))
        self._image_words = self._upload(recipe.image_of(places), np.int32)
        self._overscan_words = self._upload(_overscan_of(places, recipe), np.int32)
        groups, factors = exposure_table(recipe)
        self._order = self._upload(groups[:-1], np.int32)
        self._time_factors = self._upload(factors, np.float32)
        factor = recipe.pixel_factors
        self._factor = self._upload(np.zeros(1) if factor is None else factor, np.float32)
        self._run = _run_of(recipe)
        self._darks: _DeviceDarks | None = None
        self._lock = threading.Lock()

    def __call__(self, frames: NDArray[np.uint16], darks: PreparedDarks) -> Cleaned:
        """Clean frames ``(n, K, H, W)`` in the layout's own order."""
        result = Cleaned.empty(len(frames), self._recipe)
        on_device = self._darks_on_device(darks)
        n = max(1, BATCH_BYTES // (2 * int(np.prod(frames.shape[1:]))))
        for first in range(0, len(frames), n):
            part = slice(first, first + n)
            photons, mask, weight, counts = (self._backend.to_host(a) for a in self._clean(frames[part], on_device))
            result.photons[part], result.mask[part] = photons, mask
            if self._recipe.merges_exposures:
                result.weight[part] = weight
            result.n_damaged[part], result.n_saturated[part] = counts.T
        return result

    def _clean(self, frames: NDArray[np.uint16], darks: _DeviceDarks) -> tuple[Any, ...]:
        """Return photons, mask, weights and counts ``(n, 2)`` on the device."""
        xp, run = self._backend.xp, self._run
        n, n_frames = len(frames), len(frames) * frames.shape[1]
        low, high = limits_of(self._recipe, darks.prepared)
        raw = self._upload(frames, np.uint16)
        samples = (n_frames, int(run["rows"]), int(run["channels"]))
        lesser, background = (xp.empty(samples, dtype=xp.float32) for _ in range(2))
        image = xp.empty((n, *self._recipe.grid.image_shape), dtype=xp.float32)
        shape = (n, *self._recipe.grid.output_shape)
        photons, mask = xp.empty(shape, dtype=xp.float32), xp.empty(shape, dtype=xp.bool_)
        weighed = self._recipe.merges_exposures
        noise = xp.empty(image.shape if weighed else (1,), dtype=xp.float32)
        weight = xp.empty(shape if weighed else (1,), dtype=xp.float32)
        counts = xp.zeros((n, 2), dtype=xp.int32)
        per_frame = (samples[1] * samples[2], n_frames)
        self._launch("read_overscan", per_frame, raw, self._overscan_words, darks.overscan, lesser)
        self._launch("find_background", per_frame, low, high, lesser, darks.bias, background)
        self._launch(
            "make_image", (image[0].size, n), raw, self._image_words, darks.image, background, self._order,
            self._time_factors, image, noise, counts,
        )  # fmt: skip
        if self._recipe.counts_single_photons:
            self._count_singles(image, darks)
        self._launch("sum_boxes", (shape[1] * shape[2], n), image, noise, self._factor, photons, mask, weight)
        return photons, mask, weight, counts

    def _count_singles(self, image: Any, darks: _DeviceDarks) -> None:
        """Give each pixel of ``(n, rows, columns)`` its own threshold, in place."""
        n, rows, columns = image.shape
        shape = (n, rows // CELL, columns // CELL)
        light, valid, wide, wide_valid = (self._backend.xp.empty(shape, dtype=np.float32) for _ in range(4))
        cells = (light[0].size, n)
        self._launch("count_cells", cells, darks.singles, image, light, valid)
        self._launch("sum_wide", cells, darks.singles, light, valid, wide, wide_valid)
        self._launch("count_singles", cells, darks.singles, light, valid, wide, wide_valid, darks.worths, image)

    def _launch(self, name: str, size: tuple[int, int], *arguments: Any) -> None:
        """Run a kernel with ``size[0]`` threads for each of ``size[1]`` frames or scan points."""
        grid = (-(-size[0] // THREADS), size[1])
        self._kernels[name](grid, (THREADS,), (self._run, *arguments))

    def _upload(self, array: Any, dtype: Any) -> Any:
        return self._backend.to_device(np.ascontiguousarray(array, dtype=dtype))

    def _darks_on_device(self, darks: PreparedDarks) -> _DeviceDarks:
        """Return `darks` as the kernels take them, uploaded once for each."""
        with self._lock:
            if self._darks is None or self._darks.prepared is not darks:
                images = self._recipe.image_of(darks.mean), _overscan_of(darks.mean, self._recipe)
                image, overscan, bias, worths = (
                    self._upload(a, np.float32) for a in (*images, bias_of(darks), darks.photons.worths)
                )
                self._darks = _DeviceDarks(darks, image, overscan, bias, _singles_of(darks.photons), worths)
            return self._darks


@dataclass(frozen=True)
class _DeviceDarks:
    """Darks ``(K, rows, columns)`` of the image and ``(K, 2, rows, channels)`` of the overscan; NaN where bad.

    The bias ``(K, 2, channels)`` of the lesser of two samples. And how single photons are counted with the noise: a
    record and the worths at its thresholds.
    """

    prepared: PreparedDarks
    image: Any
    overscan: Any
    bias: Any
    singles: NDArray[Any]
    worths: Any


def _overscan_of(frames: NDArray[Any], recipe: Recipe) -> NDArray[Any]:
    """Return the overscan ``(…, 2, rows, channels)`` beside the image of assembled frames ``(…, H, W)``."""
    cut = frames[..., recipe.layout.image_rows(), :]
    return np.stack([cut[..., slot::N_SLOTS] for slot in OVERSCAN_SLOTS], axis=-3)


def _run_of(recipe: Recipe) -> NDArray[Any]:
    """Return the ``struct Run`` of a recipe."""
    grid, settings = recipe.grid, recipe.settings
    rows, columns = grid.image_shape
    values = {
        "words": np.prod(recipe.frame_shape),
        "rows": rows,
        "columns": columns,
        "channels": N_CHANNELS // 2,
        "exposures": len(recipe.exposures_s),
        "times": len(recipe.exposure_groups),
        "gain_bits": GAIN_BITS[settings.gain],
        "window": settings.overscan_rows,
        "down": grid.boxes[0],
        "across": grid.boxes[1],
        "binning": grid.binning,
        "first_row": grid.first[0],
        "first_column": grid.first[1],
        "has_factor": recipe.pixel_factors is not None,
        "worst": recipe.worst_noise,
        "single": recipe.photon_share,
        "photons_per_adu": recipe.photons_per_adu * recipe.n_summed,
        "floor": recipe.floor,
    }
    return _record(values, RUN)


def _singles_of(photons: SinglePhotons) -> NDArray[Any]:
    """Return the ``struct Singles`` of a read noise."""
    values = {
        "cell": CELL,
        "last": N_WORTHS - 1,
        "near": NEAR,
        "wide": WIDE,
        "first_threshold": FIRST_THRESHOLD,
        "first_worth": photons.first_worth,
        "first_false": photons.first_false,
        "single": SINGLE,
        "variance": photons.noise**2,
        "borrowed": BORROWED,
        "darkest": DARKEST,
        "lowest": LOWEST,
        "highest": HIGHEST,
    }
    return _record(values, SINGLES)


def _record(values: dict[str, Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of one record, which is passed by value."""
    return np.array(tuple(values[name] for name in dtype.names or ()), dtype=dtype)
