"""Write PtyPy's ``.ptyd`` files: whole ones, and ones that grow while PtyPy reads them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..geometry import Geometry
from ..scan_plan import Illumination
from ..whole_file import GrowingHdf5, require_room, whole_hdf5
from .ptyd import CHUNKS, META
from .zone_plate import write_zone_plate

VERSION = "0.1"


def write_meta(file: h5py.File, geometry: Geometry, n_frames: int, label: str) -> None:
    """Write what PtyPy must know before the first frame.

    Raises
    ------
    MetadataError
        If the patterns are not square, which PtyPy's must be.
    """
    refuse_oblong(geometry)
    shape = np.array(geometry.shape)
    arrays = {"psize": np.array(geometry.pixel_m), "shape": shape, "center": (shape // 2).astype(np.float64)}
    scalars = {"energy": geometry.energy_ev / 1e3, "distance": geometry.distance_m, "num_frames": int(n_frames)}
    texts = {"label": label or "scan", "version": VERSION, "propagation": f"{geometry.propagation}field"}
    for kind, fields in (("array", arrays), ("scalar", scalars), ("string", texts)):
        for name, value in fields.items():
            file[f"{META}/{name}"] = value
            file[f"{META}/{name}"].attrs["type"] = kind
    file[META].attrs["type"] = "dict"


def refuse_oblong(geometry: Geometry) -> None:
    """Raise MetadataError if patterns are not square, as PtyPy's must be."""
    if geometry.shape[0] != geometry.shape[1]:
        raise MetadataError(f"patterns have shape {geometry.shape}; expected square ones for a .ptyd file")


def write_chunk(
    group: h5py.Group,
    photons: NDArray[np.float32],
    mask: NDArray[np.bool_],
    positions_m: NDArray[np.float64],
    first: int,
) -> None:
    """Write frames to `group`, the first of which has the number `first`; every chunk has the same data sets."""
    n, *shape = photons.shape
    group.create_dataset("data", data=np.asarray(photons, dtype=np.float32), chunks=(1, *shape))
    packed = {"chunks": (1, *shape), "compression": "gzip", "compression_opts": 1}
    group.create_dataset("weights", data=np.asarray(mask, dtype=np.uint8), **packed)
    group["positions"] = np.asarray(positions_m, dtype=np.float64)
    group["indices"] = np.arange(first, first + n)
    for name in ("data", "weights", "positions", "indices"):
        group[name].attrs["type"] = "array"


class PtydWriter(GrowingHdf5):
    """A ``.ptyd`` file in one piece; it appears whole when the ``with`` block ends, or not at all.

    Parameters
    ----------
    path : Path
    geometry : Geometry
    n_frames : int
    label : str
        Name of the sample.
    light : Illumination, optional
        The zone plate, if it is known.
    """

    def __init__(
        self,
        path: Path | str,
        geometry: Geometry,
        n_frames: int,
        *,
        label: str = "",
        light: Illumination | None = None,
    ) -> None:
        super().__init__(path)
        self._n_chunks = self._n_frames = 0
        with self._discarded_on_error() as file:
            write_meta(file, geometry, n_frames, label)
            write_zone_plate(file, light)

    def append(self, photons: NDArray[np.float32], mask: NDArray[np.bool_], positions_m: NDArray[np.float64]) -> None:
        """Add a chunk of frames ``(n, ny, nx)``, masks (True where valid) and positions ``(n, 2)`` ``(y, x)`` in m.

        Raises
        ------
        OSError
            If they do not fit on the disk.
        """
        require_room(self._path, photons.nbytes + mask.nbytes)
        group = self._file.create_group(f"{CHUNKS}/{self._n_chunks}")
        write_chunk(group, photons, mask, positions_m, self._n_frames)
        self._n_chunks, self._n_frames = self._n_chunks + 1, self._n_frames + len(photons)


class GrowingPtyd:
    """A ``.ptyd`` file that can be read at any moment of its growth.

    Chunks lie in files of their own beside it (``NAME.ptyd.part000``, ...), written whole before the file, which links
    to them, is replaced by one that knows of them. So a reader, which opens it again and again by its name, is never in
    the writer's way and never meets half of anything, and a writer that is killed leaves a file that holds what there
    was.

    Parameters
    ----------
    path : Path
    geometry : Geometry
    n_planned : int
        Frames to come; :meth:`finish` puts in its place how many there are.
    label : str
        Name of the sample.

    Raises
    ------
    MetadataError
        If the patterns are not square.
    """

    def __init__(self, path: Path | str, geometry: Geometry, n_planned: int, *, label: str = "") -> None:
        self._path = Path(path)
        self._geometry = geometry
        self._label = label
        self._n_frames = n_planned
        self._held: list[list[int]] = []  # for each part the scan points in it
        refuse_oblong(geometry)

    def append(
        self,
        photons: NDArray[np.float32],
        mask: NDArray[np.bool_],
        positions_m: NDArray[np.float64],
        seq_nums: NDArray[np.int64],
    ) -> None:
        """Add frames ``(n, ny, nx)`` of the scan points `seq_nums`; those of points that are there are replaced.

        Raises
        ------
        OSError
            If they cannot be written; the file stays as it was.
        """
        numbers = seq_nums.tolist()
        for number, held in enumerate(self._held):
            again = [(held.index(n), row) for row, n in enumerate(numbers) if n in held]
            if again:
                old_photons, old_mask, old_positions_m = self._read_part(number)
                for to, row in again:
                    old_photons[to], old_mask[to], old_positions_m[to] = photons[row], mask[row], positions_m[row]
                self._write_part(number, old_photons, old_mask, old_positions_m)
        known = {n for held in self._held for n in held}
        fresh = [row for row, n in enumerate(numbers) if n not in known]
        if fresh:
            self._held.append([numbers[row] for row in fresh])
            try:
                self._write_part(len(self._held) - 1, photons[fresh], mask[fresh], positions_m[fresh])
                self._write_index()
            except BaseException:
                self._held.pop()
                raise

    def finish(self, rejected: Collection[int]) -> None:
        """Take the frames of points out that turned out to be bad, and tell how many frames there are."""
        for number, held in enumerate(self._held):
            kept = [row for row, n in enumerate(held) if n not in rejected]
            if len(kept) < len(held):
                if kept:
                    photons, mask, positions_m = self._read_part(number)
                    self._write_part(number, photons[kept], mask[kept], positions_m[kept])
                self._held[number] = [held[row] for row in kept]
        self._n_frames = sum(map(len, self._held))
        if self._n_frames:
            self._write_index()
        else:  # PtyPy opens no file without a chunk
            self._path.unlink(missing_ok=True)

    def _part(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.part{number:03d}")

    def _write_part(
        self, number: int, photons: NDArray[np.float32], mask: NDArray[np.bool_], positions_m: NDArray[np.float64]
    ) -> None:
        with whole_hdf5(self._part(number)) as file:
            write_chunk(file, photons, mask, positions_m, sum(map(len, self._held[:number])))

    def _read_part(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
        with h5py.File(self._part(number), "r") as file:
            return file["data"][()], file["weights"][()] > 0, file["positions"][()]

    def _write_index(self) -> None:
        with whole_hdf5(self._path) as file:
            write_meta(file, self._geometry, self._n_frames, self._label)
            chunks = file.create_group(CHUNKS)
            parts = [number for number, held in enumerate(self._held) if held]
            for place, number in enumerate(parts):
                chunks[str(place)] = h5py.ExternalLink(self._part(number).name, "/")
