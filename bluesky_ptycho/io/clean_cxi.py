"""Write clean frames to a CXI file chunk by chunk, with all that a reconstruction needs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry
from ..scan_plan import Illumination
from ..whole_file import GrowingHdf5, require_room
from . import hdf5
from .cxi import CXI_VERSION, FRAME_MASK, FRAME_WEIGHT, TRANSLATION, text
from .cxi_geometry import DETECTOR, SOURCE, write_geometry
from .zone_plate import write_zone_plate

PROCESS = "entry_1/process_1"
MOVED_AT_ONCE = 64
"""Frames that are moved at a time when others are dropped; bounds the memory."""


def is_clean(path: Path) -> bool:
    """Tell whether a file holds frames that :class:`CleanCxiWriter` wrote, which no cleaning waits for.

    Raises
    ------
    NotFoundError, MetadataError
        If there is no such file, or it is no HDF5 file.
    """
    with hdf5.open_for_reading(path) as file:
        return hdf5.find_dataset(file, f"{PROCESS}/steps") is not None


class CleanCxiWriter(GrowingHdf5):
    """A CXI file of clean frames; it appears whole when the ``with`` block ends, or not at all.

    Beside CXI's own mask of pixels that are bad in at least half of the frames there is one for each frame
    (:data:`~bluesky_ptycho.io.cxi.FRAME_MASK`), if they differ: lost packets and saturation are each frame's own. Where
    exposures of different times were merged there are weights, too (:data:`~bluesky_ptycho.io.cxi.FRAME_WEIGHT`).

    Parameters
    ----------
    path : Path
    geometry : Geometry
        Of the patterns.
    title : str
        Name of the sample.
    raw_uid : str
        The run that the frames come from, empty if there is none.
    """

    def __init__(self, path: Path | str, geometry: Geometry, *, title: str = "", raw_uid: str = "") -> None:
        super().__init__(path)
        self._geometry = geometry
        self._valid, self._total = np.zeros(geometry.shape, dtype=np.int64), np.zeros(geometry.shape)
        self._rows: dict[int, int] = {}
        with self._discarded_on_error():
            self._write_measurement(title, raw_uid)
            self._make_arrays()

    @property
    def n_frames(self) -> int:
        """Frames written so far."""
        return int(self._frames.shape[0])

    def _write_measurement(self, title: str, raw_uid: str) -> None:
        file, geometry = self._file, self._geometry
        file["cxi_version"] = CXI_VERSION
        file["number_of_entries"] = 1
        file["entry_1/title"] = file["entry_1/sample_1/name"] = text(title)
        file["entry_1/experiment_identifier"] = text(raw_uid)
        write_geometry(file, geometry)
        (dy, dx), (ny, nx) = geometry.pixel_m, geometry.shape
        detector = file[DETECTOR]
        detector["basis_vectors"] = np.array([[0.0, -dx], [-dy, 0.0], [0.0, 0.0]])
        detector["corner_position"] = np.array([dx * nx / 2, dy * ny / 2, geometry.distance_m])

    def _make_arrays(self) -> None:
        file, (ny, nx) = self._file, self._geometry.shape
        self._frames = file[DETECTOR].create_dataset(
            "data", (0, ny, nx), "<f4", maxshape=(None, ny, nx), chunks=(1, ny, nx)
        )
        self._frames.attrs["axes"] = "translation:y:x"
        self._frames.attrs["units"] = "photon"
        self._masks = self._compressed(FRAME_MASK, "u1", "0: the pixel is valid in this frame")
        self._translation = file.create_dataset(TRANSLATION, (0, 3), "<f8", maxshape=(None, 3), chunks=(1024, 3))
        self._translation.attrs["units"] = "m"
        self._seq_nums = file.create_dataset(f"{PROCESS}/seq_nums", (0,), "<i8", maxshape=(None,), chunks=(1024,))
        file["entry_1/data_1/data"] = h5py.SoftLink(f"/{DETECTOR}/data")
        for place in ("entry_1/data_1", DETECTOR):
            file[f"{place}/translation"] = h5py.SoftLink(f"/{TRANSLATION}")
        self._weights: h5py.Dataset | None = None

    def _compressed(self, name: str, dtype: str, description: str) -> h5py.Dataset:
        """Make an array of the pixels of all frames so far, 1 each; most are alike."""
        ny, nx = self._geometry.shape
        made = self._file.create_dataset(
            name, (self.n_frames, ny, nx), dtype, maxshape=(None, ny, nx), chunks=(1, ny, nx), fillvalue=1,
            compression="gzip", compression_opts=1,
        )  # fmt: skip
        made.attrs["description"] = description
        return made

    @property
    def _arrays(self) -> list[h5py.Dataset]:
        """What has a row for each frame."""
        own = [self._frames, self._masks, self._translation, self._seq_nums]
        return own if self._weights is None else [*own, self._weights]

    def append(
        self,
        photons: NDArray[np.float32],
        mask: NDArray[np.bool_],
        positions_m: NDArray[np.float64],
        seq_nums: NDArray[np.int64],
        weight: NDArray[np.float32] | None = None,
    ) -> None:
        """Add frames; one of a scan point that has one already takes its place.

        Parameters
        ----------
        photons, mask : ndarray (n, ny, nx)
            Photons per pixel; True where a pixel is valid.
        positions_m : ndarray (n, 2)
            ``(y, x)`` of the beam axis in m.
        seq_nums : ndarray (n,)
            Numbers of the scan points.
        weight : ndarray (n, ny, nx), optional
            As :class:`~bluesky_ptycho.frames.CleanFrames` has it; 1 where it is not given.

        Raises
        ------
        OSError
            If they do not fit on the disk.
        """
        require_room(self._path, photons.nbytes + mask.nbytes + (0 if weight is None else weight.nbytes))
        if weight is not None and self._weights is None:
            told = "of the variance that photons of the longest exposure have, over the pixel's own"
            self._weights = self._compressed(FRAME_WEIGHT, "<f4", f"weight of the pixel in this frame: share {told}")
        numbers = seq_nums.tolist()
        if again := [i for i, number in enumerate(numbers) if number in self._rows]:
            for i in again:
                self._replace(self._rows[numbers[i]], photons[i], mask[i], positions_m[i])
                if self._weights is not None:
                    self._weights[self._rows[numbers[i]]] = 1.0 if weight is None else weight[i]
            fresh = [i for i in range(len(numbers)) if i not in again]
            photons, mask, positions_m, seq_nums = photons[fresh], mask[fresh], positions_m[fresh], seq_nums[fresh]
            weight = None if weight is None else weight[fresh]
        first, last = self.n_frames, self.n_frames + len(photons)
        self._rows |= {number: first + i for i, number in enumerate(seq_nums.tolist())}
        for array in self._arrays:
            array.resize(last, axis=0)
        if weight is not None and self._weights is not None:
            self._weights[first:last] = weight
        self._frames[first:last] = photons
        self._masks[first:last] = ~mask
        y, x = np.asarray(positions_m, dtype=np.float64).T
        self._translation[first:last] = np.stack([x, y, np.zeros_like(x)], axis=1)
        self._seq_nums[first:last] = seq_nums
        self._valid += mask.sum(axis=0)
        self._total += photons.sum(axis=0, dtype=np.float64, where=mask)

    def _replace(
        self, row: int, photons: NDArray[np.float32], mask: NDArray[np.bool_], position_m: NDArray[np.float64]
    ) -> None:
        before, valid = self._frames[row], self._masks[row] == 0
        self._valid += mask.astype(np.int64) - valid
        self._total += np.where(mask, photons, 0.0) - np.where(valid, before, 0.0)
        self._frames[row], self._masks[row] = photons, ~mask
        self._translation[row] = (position_m[1], position_m[0], 0.0)

    @property
    def mean_photons(self) -> NDArray[np.float32]:
        """Mean of the valid photons over the frames, ``(ny, nx)``; NaN where there are none."""
        mean = np.divide(self._total, self._valid, out=np.full(self._total.shape, np.nan), where=self._valid > 0)
        return mean.astype(np.float32)

    def drop(self, seq_nums: Collection[int]) -> None:
        """Take frames out again that the whole scan has shown to be bad; the others keep their order."""
        kept = np.flatnonzero(~np.isin(self._seq_nums[()], list(seq_nums)))
        if len(kept) == self.n_frames:
            return
        self._valid[:], self._total[:] = 0, 0
        for first in range(0, len(kept), MOVED_AT_ONCE):
            rows = kept[first : first + MOVED_AT_ONCE]
            to = slice(first, first + len(rows))
            for array in self._arrays:
                array[to] = array[rows]
            valid = self._masks[to] == 0
            self._valid += valid.sum(axis=0)
            self._total += self._frames[to].sum(axis=0, dtype=np.float64, where=valid)
        for array in self._arrays:
            array.resize(len(kept), axis=0)
        self._rows = {number: row for row, number in enumerate(self._seq_nums[()].tolist())}

    def write_illumination(self, probe: NDArray[np.complex64]) -> None:
        """Write a first guess of the probe at the sample, ``(ny, nx)``."""
        self._file[f"{SOURCE}/illumination"] = np.asarray(probe, dtype=np.complex64)
        self._file[f"{SOURCE}/probe"] = h5py.SoftLink(f"/{SOURCE}/illumination")

    def write_zone_plate(self, light: Illumination | None) -> None:
        """Write the zone plate that made the beam, if it is known."""
        write_zone_plate(self._file, light)

    def write_darks(
        self, mean: NDArray[np.float32], sigma: NDArray[np.float32], n: Sequence[int], exposures_s: Sequence[float]
    ) -> None:
        """Write mean dark and noise ``(K, H, W)`` of the K exposures, raw frames in ADU, and of how many frames."""
        for name, values in (("data_dark", mean), ("data_dark_sigma", sigma)):
            made = self._file[DETECTOR].create_dataset(name, data=np.asarray(values, dtype=np.float32))
            made.attrs.update({"units": "ADU", "exposures_s": list(exposures_s), "n_frames": list(n)})

    def write_process(
        self,
        *,
        settings: Mapping[str, Any],
        steps: Sequence[str],
        versions: Mapping[str, str],
        rejected: Mapping[int, str],
        dark_corrected: bool,
    ) -> None:
        """Write how the frames were made, and which points have none and why."""
        process = self._file[PROCESS]
        process["program"] = text("bluesky_ptycho")
        for name, value in (("settings", settings), ("versions", versions), ("rejected", rejected)):
            process[name] = text(json.dumps(dict(value)))
        process["steps"] = text(json.dumps(list(steps)))
        process["dark_corrected"] = dark_corrected

    def close(self) -> None:
        """Finish the file and put it in its place; without a single frame there is none."""
        if self.n_frames:
            super().close()
        else:
            self.discard()

    def _finish(self) -> None:
        n = self.n_frames
        bad = self._valid <= n / 2
        mask = self._file[DETECTOR].create_dataset("mask", data=bad.astype(np.uint32))
        mask.attrs["description"] = "0: the pixel is valid in most of the frames"
        if bool(np.isin(self._valid, (0, n)).all()):
            del self._file[FRAME_MASK]  # it says what the mask says
        self._describe(self._file)

    def _describe(self, file: h5py.File) -> None:
        """Add what another format wants to be told, when all else is written."""
