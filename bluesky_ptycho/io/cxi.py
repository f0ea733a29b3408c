"""Read measurements from CXI files and write reconstructions to them.

CXI (Maia, Nature Methods 9, 854 (2012); https://www.cxidb.org/cxi.html) is HDF5 with agreed names
and SI units. Its translations are (x, y, z); the window on the object moves with +x to higher
columns and with +y to higher rows, which is the stage convention of :mod:`bluesky_ptycho.geometry`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError
from ..frames import Snapshot
from ..geometry import Canvas, Geometry
from ..whole_file import whole_hdf5
from . import hdf5
from .cxi_geometry import DETECTOR, SOURCE, read_geometry, read_propagation, write_geometry
from .cxi_learnt import read_learnt, write_learnt

CXI_VERSION = 160
_IMAGE = "entry_1/image_1"
_PROCESS = f"{_IMAGE}/process_1"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"
FRAME_MASK = f"{DETECTOR}/frame_mask"
"""Mask of each frame, ``(n, ny, nx)``, 0 for good: ours, where CXI has one mask for all frames."""
FRAME_WEIGHT = f"{DETECTOR}/frame_weight"
"""Weight of each pixel of each frame, ``(n, ny, nx)``, 0 to 1: ours, there where different exposures were merged."""


@dataclass(frozen=True)
class CxiData:
    """A ptychography measurement.

    Parameters
    ----------
    photons : ndarray (n, ny, nx) float32
        Patterns in the orientation of :mod:`bluesky_ptycho.geometry`; 0 where the mask is False.
    mask : ndarray (ny, nx) or (n, ny, nx) bool
        True where the pixel is valid, in every frame or in each.
    positions_m : ndarray (n, 2) float64
        ``(y, x)`` of the beam axis in m.
    geometry : Geometry
    probe_guess : ndarray (modes, ny, nx) complex64 or None
    title : str
        The sample's name in the file, else the file's own.
    weight : ndarray (n, ny, nx) float32 or None
        As :class:`~bluesky_ptycho.frames.Batch` takes it.
    """

    photons: NDArray[np.float32]
    mask: NDArray[np.bool_]
    positions_m: NDArray[np.float64]
    geometry: Geometry
    probe_guess: NDArray[np.complex64] | None = None
    title: str = ""
    weight: NDArray[np.float32] | None = None


def read_cxi(
    path: Path | str,
    *,
    propagation: str | None = None,
    focus_to_sample_m: float | None = None,
    weights: bool = True,
) -> CxiData:
    """Read the patterns of a CXI file with all that a reconstruction needs.

    Parameters
    ----------
    path : Path
    propagation : {"far", "near"}, optional
        Taken in the place of the file's attribute of that name, without which patterns are far-field ones.
    focus_to_sample_m : float, optional
        Taken in the place of the file's attribute, for the near field; without both the beam is parallel.
    weights : bool
        Whether weights of the pixels are read, which take as much memory as the patterns.

    Raises
    ------
    NotFoundError
        If there is no such file.
    MetadataError
        If it is not HDF5, a field is missing, has the wrong type, shape or unit, or leads out of the
        file.
    """
    with hdf5.open_for_reading(Path(path)) as file:
        frames = hdf5.find_dataset(file, f"{DETECTOR}/data", "entry_1/data_1/data")
        if frames is None:
            refuse_reconstruction(file)
            raise MetadataError(f"{path} has no {DETECTOR}/data or entry_1/data_1/data")
        if holds_raw_frames(frames):
            raise MetadataError(
                f"{path} holds raw frames; expected patterns, which `bluesky-ptycho preprocess {path}` makes of them"
            )
        photons = hdf5.array(frames, "iuf", (None, None, None), np.float32)
        n, *shape = photons.shape
        mask = _read_mask(file, (n, shape[0], shape[1]))
        mask &= np.isfinite(photons.sum(axis=0))
        photons[np.broadcast_to(~mask, photons.shape)] = 0
        return CxiData(
            photons=photons,
            mask=mask,
            positions_m=read_positions(file, n),
            geometry=read_geometry(file, (shape[0], shape[1]), propagation, focus_to_sample_m),
            probe_guess=_read_probe(file, (shape[0], shape[1])),
            title=_read_sample_name(file) or Path(path).stem,
            weight=_read_weight(file, (n, shape[0], shape[1])) if weights else None,
        )


def propagation_in(path: Path | str) -> str:
    """Return whether a file's patterns are of the "far" field or the "near" one; errors are those of :func:`read_cxi`.

    Without the attribute that says so they are far-field ones.
    """
    with hdf5.open_for_reading(Path(path)) as file:
        return read_propagation(file)


def holds_raw_frames(frames: h5py.Dataset) -> bool:
    """Tell whether frames are as the camera gave them: only raw ones are said to have a layout."""
    return "layout" in frames.attrs


def refuse_reconstruction(file: h5py.File) -> None:
    """Refuse a file without patterns that holds a reconstruction, as :func:`write_result_cxi` leaves it.

    Raises
    ------
    MetadataError
        It says what to do with it, and what to take instead.
    """
    if hdf5.find_dataset(file, f"{_IMAGE}/data") is not None:
        raise MetadataError(
            f"{file.filename} holds a reconstruction, not the patterns of a measurement; 'bluesky-ptycho show "
            f"{file.filename}' draws it, and 'convert --stage clean' writes the patterns of its scan"
        )


def write_result_cxi(
    path: Path | str,
    snapshot: Snapshot,
    *,
    sample_name: str = "",
    raw_uid: str = "",
    versions: Mapping[str, str] | None = None,
    stxm: NDArray[np.float32] | None = None,
) -> None:
    """Write a reconstruction; the file appears whole or not at all.

    ``/entry_1/image_1/data`` is the object and the file's largest complex data set: probe modes are
    stored one by one, and a window is smaller than its canvas.

    Parameters
    ----------
    path : Path
    snapshot : Snapshot
    sample_name, raw_uid : str
        What was measured; the run it comes from.
    versions : mapping of str to str, optional
        Software → version.
    stxm : ndarray (rows, cols) float32, optional
        Transmission map on the object's grid.
    """
    with whole_hdf5(path) as file:
        _write_measurement(file, snapshot, sample_name, raw_uid)
        _write_probe(file, snapshot.probe)
        _write_image(file, snapshot, stxm)
        _write_process(file, snapshot, versions or {})


def read_result_cxi(path: Path | str) -> Snapshot:
    """Read what :func:`write_result_cxi` wrote.

    Raises
    ------
    NotFoundError, MetadataError
        As :func:`read_cxi` does.
    """
    with hdf5.open_for_reading(Path(path)) as file:
        image = hdf5.array(hdf5.dataset(file, f"{_IMAGE}/data"), "c", (None, None), np.complex64)
        probe = hdf5.numbered_images(file, f"{SOURCE}/modes/mode_")
        if probe is None:
            raise MetadataError(f"{path} has no {SOURCE}/modes/mode_1")
        origin, pixel = (
            hdf5.array(hdf5.dataset(file, f"{_IMAGE}/{name}"), "f", (2,), np.float64)
            for name in ("canvas_origin", "pixel_size")
        )
        shape = (probe.shape[1], probe.shape[2])
        seq_nums = hdf5.dataset(file, f"{_PROCESS}/seq_nums")
        residuals = hdf5.dataset(file, f"{_PROCESS}/residuals")
        return Snapshot(
            object=image,
            probe=probe,
            canvas=Canvas((image.shape[0], image.shape[1]), _pair(origin), _pair(pixel), shape),
            geometry=read_geometry(file, shape),
            coverage=hdf5.array(hdf5.dataset(file, f"{_IMAGE}/coverage"), "f", image.shape, np.float32),
            seq_nums=hdf5.array(seq_nums, "iu", seq_nums.shape, np.int64),
            positions_m=read_positions(file, seq_nums.size),
            residuals=hdf5.array(residuals, "f", residuals.shape, np.float64),
            residual=hdf5.scalar(hdf5.dataset(file, f"{_PROCESS}/residual")),
            iteration=int(hdf5.scalar(hdf5.dataset(file, f"{_PROCESS}/iterations"))),
            frc=_read_frc(file),
            settings=_read_json(file, f"{_PROCESS}/settings"),
            slices=hdf5.numbered_images(file, f"{_IMAGE}/slices/slice_"),
            **read_learnt(file, f"{_PROCESS}/learnt", seq_nums.size, image.shape, shape),
        )


def _read_mask(file: h5py.File, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return the mask of the frames ``(n, ny, nx)`` or, where there is none, that of all ``(ny, nx)``."""
    each = hdf5.find_dataset(file, FRAME_MASK)
    found = hdf5.find_dataset(file, f"{DETECTOR}/mask") if each is None else each
    if found is None:
        return np.ones(shape[1:], dtype=bool)
    # CXI's bits mean kinds of defects; any of them makes a pixel bad.
    mask = hdf5.array(found, "iub", shape[1:] if each is None else shape, found.dtype) == 0
    if not mask.any():
        raise MetadataError(f"{file.filename}: {found.name} marks every pixel as bad; expected 0 for good ones")
    return np.asarray(mask)


def _read_sample_name(file: h5py.File) -> str:
    """Return what the file calls its sample, as far as it is one line of text; empty where it does not."""
    try:
        found = hdf5.find_dataset(file, "entry_1/sample_1/name")
    except MetadataError:
        return ""
    if found is None or found.size != 1 or found.dtype.kind != "S":
        return ""
    name: bytes = np.asarray(found[()]).item()
    return name.decode(errors="replace").strip().split("\n")[0]


def _read_weight(file: h5py.File, shape: tuple[int, int, int]) -> NDArray[np.float32] | None:
    found = hdf5.find_dataset(file, FRAME_WEIGHT)
    if found is None:
        return None
    weight = hdf5.array(found, "f", shape, np.float32)
    if not (weight.min(initial=1.0) >= 0 and weight.max(initial=0.0) <= 1):
        raise MetadataError(f"{file.filename}: {found.name} holds values that are not within 0 to 1")
    return weight


def read_positions(file: h5py.File, n: int) -> NDArray[np.float64]:
    """Return the positions ``(n, 2)`` ``(y, x)`` in m of `n` frames; raises MetadataError if there are none."""
    found = hdf5.dataset(file, TRANSLATION, "entry_1/data_1/translation", f"{DETECTOR}/translation")
    xyz = hdf5.array(found, "iuf", (n, 3), np.float64)
    if not np.isfinite(xyz[:, :2]).all():
        raise MetadataError(f"{file.filename}: {found.name} holds values that are not finite")
    return np.ascontiguousarray(xyz[:, 1::-1])


def _read_probe(file: h5py.File, shape: tuple[int, int]) -> NDArray[np.complex64] | None:
    found = hdf5.find_dataset(file, f"{SOURCE}/probe_guess", f"{SOURCE}/illumination", f"{SOURCE}/probe")
    if found is None:
        return None
    leading = (None,) if found.ndim == 3 else ()
    probe = hdf5.array(found, "cf", (*leading, *shape), np.complex64)
    if not np.isfinite(probe).all() or not probe.any():
        raise MetadataError(f"{file.filename}: {found.name} is zero or not finite; expected a probe")
    return probe.reshape(-1, *shape)


def _write_measurement(file: h5py.File, snapshot: Snapshot, sample_name: str, raw_uid: str) -> None:
    file["cxi_version"] = CXI_VERSION
    file["number_of_entries"] = 1
    entry = file.create_group("entry_1")
    entry["title"] = text(sample_name)
    entry["experiment_identifier"] = text(raw_uid)
    write_geometry(file, snapshot.geometry)
    file["entry_1/sample_1/name"] = text(sample_name)
    y, x = snapshot.positions_m.reshape(-1, 2).T
    file[TRANSLATION] = np.stack([x, y, np.zeros_like(x)], axis=1)
    file[TRANSLATION].attrs["units"] = "m"


def _write_probe(file: h5py.File, probe: NDArray[np.complex64]) -> None:
    for index, mode in enumerate(probe, start=1):
        file[f"{SOURCE}/modes/mode_{index}"] = mode.astype(np.complex64)
    file[f"{SOURCE}/illumination"] = h5py.SoftLink(f"/{SOURCE}/modes/mode_1")
    file[f"{SOURCE}/probe"] = h5py.SoftLink(f"/{SOURCE}/modes/mode_1")


def _write_image(file: h5py.File, snapshot: Snapshot, stxm: NDArray[np.float32] | None) -> None:
    canvas = snapshot.canvas
    image = file.create_group(_IMAGE)
    data = image.create_dataset("data", data=snapshot.object.astype(np.complex64))
    data.attrs["axes"] = "y:x"
    data.attrs["description"] = "object; row grows with stage y, column with stage x"
    image["data_type"] = text("object transmission")
    image["data_space"] = text("real")
    image["coverage"] = snapshot.coverage.astype(np.float32)
    for index, layer in enumerate(() if snapshot.slices is None else snapshot.slices, start=1):
        image[f"slices/slice_{index}"] = layer.astype(np.complex64)
    if stxm is not None:
        image["stxm"] = stxm.astype(np.float32)
    image["canvas_origin"] = np.array(canvas.origin_m)
    image["canvas_origin"].attrs.update({"units": "m", "description": "stage (y, x) of the centre of pixel [0, 0]"})
    image["pixel_size"] = np.array(canvas.pixel_m)
    image["pixel_size"].attrs.update({"units": "m", "description": "(y, x)"})
    image["y_pixel_size"], image["x_pixel_size"] = canvas.pixel_m
    image["source_1"] = h5py.SoftLink(f"/{SOURCE}")


def _write_process(file: h5py.File, snapshot: Snapshot, versions: Mapping[str, str]) -> None:
    process = file.create_group(_PROCESS)
    process["program"] = text("bluesky_ptycho")
    process["settings"] = text(json.dumps(dict(snapshot.settings)))
    process["versions"] = text(json.dumps(dict(versions)))
    process["iterations"] = snapshot.iteration
    process["residual"] = float(snapshot.residual)
    process["residual"].attrs["description"] = "sum(sqrt(I) - |Psi|)^2 / sum(I) over all frames and valid pixels"
    process["residuals"] = np.asarray(snapshot.residuals, dtype=np.float64)
    process["seq_nums"] = np.asarray(snapshot.seq_nums, dtype=np.int64)
    write_learnt(process.create_group("learnt"), snapshot)
    for name, values in (snapshot.frc or {}).items():
        process[f"frc/{name}"] = np.asarray(values, dtype=np.float64)


def _read_frc(file: h5py.File) -> dict[str, Any] | None:
    group = file.get(f"{_PROCESS}/frc")
    if not isinstance(group, h5py.Group):
        return None
    found = {name: hdf5.dataset(file, f"{_PROCESS}/frc/{name}") for name in group}
    return {name: d[()] if d.ndim else hdf5.scalar(d) for name, d in found.items()}


def _read_json(file: h5py.File, name: str) -> dict[str, Any]:
    return dict(json.loads(bytes(hdf5.dataset(file, name)[()])))


def text(value: str) -> np.bytes_:
    """Return text as HDF5's fixed-length type, which every reader understands (UTF-8)."""
    return np.bytes_(value.encode())


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]), float(values[1])
