"""Raw frames as CXI, or NXcxi_ptycho: as the camera gave them, with what preprocessing needs to know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..geometry import Geometry
from ..scan_plan import DetectorInfo, ScanPlan
from ..whole_file import GrowingHdf5, require_room
from . import hdf5, nxs
from .cxi import CXI_VERSION, TRANSLATION, holds_raw_frames, text
from .cxi_geometry import DETECTOR, write_geometry
from .raw_file import DARK_DATASET
from .zone_plate import write_zone_plate

MOST_LETTERS = 64
MOST_EXPOSURES = 64


class RawCxiWriter(GrowingHdf5):
    """A CXI file of raw frames; it appears whole when the ``with`` block ends, or not at all.

    Attributes of the frames' data set tell what CXI has no words for: ``layout``, ``adu_per_ev``, ``exposures_s`` (the
    frames of a scan point follow each other, and there is one translation for each point), ``detector``.

    Parameters
    ----------
    path : Path
    plan : ScanPlan
        With a detector.
    dtype : dtype
        Of the frames.
    title, raw_uid : str
        Name of the sample; the run that the frames come from.
    nexus : bool
        Whether to add what NXcxi_ptycho wants to be told.
    """

    def __init__(
        self, path: Path | str, plan: ScanPlan, dtype: Any, *, title: str = "", raw_uid: str = "", nexus: bool = False
    ) -> None:
        assert plan.detector is not None
        super().__init__(path)
        self._geometry = Geometry(plan.energy_ev, plan.distance_m, plan.detector.pixel_m, plan.detector.shape)
        self._nexus = nexus
        with self._discarded_on_error() as file:
            file["cxi_version"], file["number_of_entries"] = CXI_VERSION, 1
            file["entry_1/title"] = file["entry_1/sample_1/name"] = text(title)
            file["entry_1/experiment_identifier"] = text(raw_uid)
            write_geometry(file, self._geometry)
            write_zone_plate(file, plan.illumination)
            self._frames = self._growing(f"{DETECTOR}/data", plan.detector.shape, dtype)
            self._frames.attrs.update(_told(plan, plan.detector))
            self._translation = self._growing(TRANSLATION, (3,), "<f8")
            self._translation.attrs["units"] = "m"
            file["entry_1/data_1/data"] = h5py.SoftLink(f"/{DETECTOR}/data")
            for place in ("entry_1/data_1", DETECTOR):
                file[f"{place}/translation"] = h5py.SoftLink(f"/{TRANSLATION}")

    def _growing(self, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
        return self._file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1, *shape))

    @property
    def n_frames(self) -> int:
        """Frames written so far."""
        return int(self._frames.shape[0])

    def append(self, frames: NDArray[Any], positions_m: NDArray[np.float64]) -> None:
        """Add the frames ``(n, K, H, W)`` of scan points at ``(n, 2)`` ``(y, x)``; OSError if they do not fit."""
        self._add(self._frames, frames.reshape(-1, *frames.shape[2:]))
        self._add(
            self._translation, np.stack([positions_m[:, 1], positions_m[:, 0], np.zeros(len(positions_m))], axis=1)
        )

    def append_darks(self, frames: NDArray[Any]) -> None:
        """Add dark frames ``(n, K, H, W)``; OSError if they do not fit."""
        if DARK_DATASET not in self._file:
            self._growing(DARK_DATASET, frames.shape[2:], frames.dtype)
        self._add(self._file[DARK_DATASET], frames.reshape(-1, *frames.shape[2:]))

    def _add(self, dataset: h5py.Dataset, rows: NDArray[Any]) -> None:
        require_room(self._path, rows.nbytes)
        first = len(dataset)
        dataset.resize(first + len(rows), axis=0)
        dataset[first:] = rows

    def _finish(self) -> None:
        if self._nexus:
            nxs.describe(self._file, self._geometry)


def _told(plan: ScanPlan, detector: DetectorInfo) -> dict[str, Any]:
    return {
        "axes": "translation:y:x",
        "layout": detector.layout,
        "adu_per_ev": detector.adu_per_ev,
        "exposures_s": list(plan.exposures_s),
        "detector": detector.name,
    }


def read_raw_facts(path: Path) -> dict[str, Any] | None:
    """Return what :class:`RawCxiWriter` told of the frames: layout, adu_per_ev, exposures_s; None of other files.

    Raises
    ------
    NotFoundError, MetadataError
        If there is no such file, or they are of no use.
    """
    with hdf5.open_for_reading(path) as file:
        found = hdf5.find_dataset(file, f"{DETECTOR}/data")
        if found is None or not holds_raw_frames(found):
            return None
        try:
            exposures = np.asarray(found.attrs["exposures_s"], dtype=np.float64).ravel()[:MOST_EXPOSURES]
            return {
                "layout": str(found.attrs["layout"])[:MOST_LETTERS],
                "exposures_s": tuple(exposures.tolist()),
                "adu_per_ev": float(found.attrs["adu_per_ev"]),
            }
        except (KeyError, TypeError, ValueError) as error:
            raise MetadataError(f"{path}: attributes of {found.name} cannot be used: {error}") from error
