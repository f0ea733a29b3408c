"""Files of frames that other programs wrote, or that a run was converted to, as what a run is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import MetadataError
from .io import hdf5
from .io.patterns import Patterns, open_patterns
from .io.raw_cxi import read_raw_facts
from .io.raw_file import RawFileFacts, open_frames, read_facts
from .io.zone_plate import read_zone_plate
from .preprocess.layouts import find_layout
from .scan_plan import Axis, DetectorInfo, Illumination, ScanPlan

DETECTOR = "file"
AXES = {"y": Axis("stage_y", "m"), "x": Axis("stage_x", "m")}


@dataclass(frozen=True)
class Foreign:
    """Frames of a file that is open.

    Parameters
    ----------
    format : str
        "cxi", "nxs" or "ptyd"; "raw cxi" of raw frames.
    plan : ScanPlan
        What was measured.
    dtype : dtype
        Of the frames.
    n_darks : int
        Dark points.
    read, read_darks : callable
        ``read(first, last)`` gives the frames ``(n, K, H, W)`` of these scan points; patterns are NaN where a pixel is
        not valid.
    """

    format: str
    plan: ScanPlan
    dtype: np.dtype[Any]
    n_darks: int
    read: Callable[[int, int], NDArray[Any]]
    read_darks: Callable[[int, int], NDArray[Any]]


@contextmanager
def open_foreign(path: Path) -> Iterator[Foreign]:
    """Open a file of patterns, or of raw frames that ``convert --stage raw`` wrote.

    Raises
    ------
    NotFoundError, MetadataError
        If there is no such file, it holds no frames, or something of it cannot be used.
    """
    told = read_raw_facts(path)
    if told is not None:
        facts = read_facts(path)
        with open_frames(path, facts.dataset) as frames:
            yield _raw(path, frames, facts, told)
        return
    with open_patterns(path) as patterns:
        yield _patterns(path, patterns)


def _patterns(path: Path, patterns: Patterns) -> Foreign:
    geometry = patterns.geometry
    if geometry.propagation != "far":
        raise MetadataError(
            f"{path} holds near-field patterns; a run's are of the far field ('reconstruct' takes it as is)"
        )

    def read(first: int, last: int) -> NDArray[np.float32]:
        photons, mask = patterns.read(first, last)
        return np.where(mask, photons, np.float32(np.nan))[:, np.newaxis]

    plan = _plan(
        patterns.positions_m, geometry.energy_ev, geometry.distance_m, geometry.shape, geometry.pixel_m,
        illumination=_zone_plate(path),
    )  # fmt: skip
    return Foreign(patterns.format, plan, np.dtype(np.float32), 0, read, read)


def _raw(path: Path, frames: h5py.Dataset, facts: RawFileFacts, told: dict[str, Any]) -> Foreign:
    find_layout(told["layout"])
    wanted = {
        "energy": facts.energy_ev,
        "distance": facts.distance_m,
        "pixel": facts.pixel_m,
        "positions": facts.positions_m,
    }
    lacking = [name for name, value in wanted.items() if value is None]
    if lacking:
        raise MetadataError(f"{path} does not tell {', '.join(lacking)}")
    assert facts.energy_ev is not None and facts.distance_m is not None
    assert facts.pixel_m is not None and facts.positions_m is not None
    k = len(told["exposures_s"])
    if facts.n_frames != k * len(facts.positions_m):
        raise MetadataError(
            f"{path} holds {facts.n_frames} frames; expected {k} for each of {len(facts.positions_m)} positions"
        )
    darks = None if facts.dark_dataset is None else frames.file[facts.dark_dataset]
    if darks is not None and (darks.shape[1:] != frames.shape[1:] or len(darks) % k):
        raise MetadataError(
            f"{path}: {facts.dark_dataset} has shape {darks.shape}; expected frames as the others, {k} each"
        )
    n_darks = 0 if darks is None else len(darks) // k
    plan = _plan(
        facts.positions_m, facts.energy_ev, facts.distance_m, facts.frame_shape, facts.pixel_m,
        layout=told["layout"], adu_per_ev=told["adu_per_ev"], exposures_s=told["exposures_s"], n_darks=n_darks,
        illumination=_zone_plate(path),
    )  # fmt: skip

    def reader(dataset: h5py.Dataset | None) -> Callable[[int, int], NDArray[Any]]:
        def read(first: int, last: int) -> NDArray[Any]:
            assert dataset is not None
            return np.asarray(dataset[first * k : last * k]).reshape(-1, k, *dataset.shape[1:])

        return read

    return Foreign("raw cxi", plan, frames.dtype, n_darks, reader(frames), reader(darks))


def _plan(
    positions_m: NDArray[np.float64],
    energy_ev: float,
    distance_m: float,
    shape: tuple[int, int],
    pixel_m: tuple[float, float],
    *,
    layout: str = "plain",
    adu_per_ev: float = 1.0,
    exposures_s: tuple[float, ...] = (1.0,),
    n_darks: int = 0,
    illumination: Illumination | None = None,
) -> ScanPlan:
    detector = DetectorInfo(
        DETECTOR, f"{DETECTOR}_image", f"{DETECTOR}_frame_index", shape, pixel_m, layout, adu_per_ev
    )
    return ScanPlan.from_positions(
        positions_m,
        energy_ev=energy_ev,
        distance_m=distance_m,
        detector=detector,
        axes=AXES,
        exposures_s=exposures_s,
        n_darks=n_darks,
        illumination=illumination,
    )


def _zone_plate(path: Path) -> Illumination | None:
    with hdf5.open_for_reading(path) as file:
        return read_zone_plate(file)
