"""Composed, validated documents of a small scan, with a real HDF5 file behind them."""

from __future__ import annotations

import h5py
import numpy as np
from event_model import compose_run

from bluesky_ptycho.scan_plan import Axis, DetectorInfo, ScanPlan

DATASET = "/entry/data/data"


def small_plan(positions_m, *, shape=(16, 16), exposures_s=(0.1,), **fields):
    detector = DetectorInfo("cam", "cam_image", "cam_frame_index", shape, (120e-6, 120e-6), "plain", 0.004)
    axes = {"y": Axis("stage_y", "um"), "x": Axis("stage_x", "um")}
    fields = {"energy_ev": 800.0, "distance_m": 0.121, "exposures_s": exposures_s, **fields}
    return ScanPlan.from_positions(np.asarray(positions_m), detector=detector, axes=axes, **fields)


class ComposedRun:
    """Documents of one run, made one at a time in the order a test wants."""

    def __init__(self, plan, path=None, frames=None, metadata=None):
        self.plan = plan
        metadata = {"ptycho": plan.to_start(), "scan_id": 1, **(metadata or {})}
        self._bundle = compose_run(time=metadata.pop("time", None), metadata=metadata)
        self.start = self._bundle.start_doc
        self._streams = {}
        if path is not None:
            with h5py.File(path, "w", libver="latest") as file:
                file.create_dataset(DATASET, data=frames, chunks=(1, *frames.shape[1:]))
        self.path = path

    def open_stream(self, name="primary", **changes):
        detector = self.plan.detector
        keys = {
            detector.image_key: {
                "source": "sim", "dtype": "array", "dtype_numpy": "<u2", "external": "STREAM:",
                "shape": [self.plan.frames_per_point, *detector.shape],
            },
            detector.index_key: {"source": "sim", "dtype": "integer", "shape": []},
        }  # fmt: skip
        if name == "primary":
            for axis in self.plan.axes.values():
                keys[axis.key] = {"source": "sim", "dtype": "number", "shape": [], "units": axis.units}
        for key, change in changes.items():
            if change is None:
                keys.pop(key)
            else:
                keys[key].update(change)
        descriptor = self._bundle.compose_descriptor(name=name, data_keys=keys)
        resource = self._bundle.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{self.path or '/nowhere.h5'}",
            data_key=detector.image_key,
            parameters={"dataset": DATASET, "chunk_shape": [1, *detector.shape], "locking": None},
        )
        self._streams[name] = (descriptor, resource)
        return [("descriptor", descriptor.descriptor_doc), ("stream_resource", resource.stream_resource_doc)]

    def event(self, seq_num, row, position_um=None, name="primary"):
        descriptor, _ = self._streams[name]
        data = {self.plan.detector.index_key: row}
        if position_um is not None:
            data |= {"stage_y": float(position_um[0]), "stage_x": float(position_um[1])}
        timestamps = dict.fromkeys(data, 0.0)
        doc = descriptor.compose_event(data=data, timestamps=timestamps, seq_num=seq_num, filled={})
        return ("event", doc)

    def stored(self, start, stop, name="primary"):
        descriptor, resource = self._streams[name]
        doc = resource.compose_stream_datum(
            indices={"start": start, "stop": stop},
            seq_nums={"start": start + 1, "stop": stop + 1},
            descriptor=descriptor.descriptor_doc,
        )
        return ("stream_datum", doc)

    def stop(self, **fields):
        return ("stop", self._bundle.compose_stop(**fields))
