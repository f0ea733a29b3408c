"""A run of a detector and a plan that know nothing of this package, and the names of its data keys."""

from __future__ import annotations

from functools import partial

import h5py
import numpy as np
import pytest
from event_model import compose_run

KEYS = {"frames_key": "eiger_image", "position_keys": ("sy_readback", "sx_readback")}
FACTS = {"energy": "mono_energy", "distance": "eiger_z", "pixel": 120e-6}
NO_ZONE_PLATE = partial(pytest.warns, UserWarning, match="no zone plate")
NUMBER = {"source": "sim", "dtype": "number", "shape": []}


class OwnRun:
    """A run as bluesky's grid_scan with an area detector emits it: millimetres, no plan of ours, no frame index.

    `darks`, frames ``(n, H, W)``, are taken first, into stream `dark_stream`; their mean is in all frames.
    """

    def __init__(self, path, scan, *, units="mm", told=True, darks=None, dark_stream="dark", **start):
        self.positions, self.frames = scan[0], scan[1]
        self.darks, self.dark_stream, self.dark_path = darks, dark_stream, path.with_name(f"dark_{path.name}")
        if darks is not None:
            self.frames = (self.frames + np.rint(darks.mean(axis=0))).astype(np.uint16)
        for file_path, frames in ((path, self.frames), (self.dark_path, darks)):
            if frames is not None:
                with h5py.File(file_path, "w", libver="latest") as file:
                    file.create_dataset("/entry/data/data", data=frames, chunks=(1, *frames.shape[1:]))
        low, high = 1e3 * self.positions.min(axis=0), 1e3 * self.positions.max(axis=0)
        extents = {"motors": ["sy", "sx"], "extents": [[low[0], high[0]], [low[1], high[1]]], "plan_name": "grid_scan"}
        told = {**extents, "num_points": len(self.positions)} if told else {"plan_name": "scan"}
        self.bundle = compose_run(metadata={"scan_id": 5, **told, **start})
        self.path, self.units = path, units

    def documents(self, *, late=False):
        """Yield the documents; `late`: each frame is told of after its event."""
        other = self.bundle.compose_descriptor(name="baseline", data_keys={"ring": NUMBER})
        yield "start", self.bundle.start_doc
        yield "descriptor", other.descriptor_doc
        yield "event", other.compose_event(data={"ring": 500.0}, timestamps={"ring": 0.0})
        if self.darks is not None:
            yield from self.stream(self.dark_stream, self.dark_path, [{}] * len(self.darks), {}, late)
        moved = {k: {**NUMBER, "units": self.units} for k in KEYS["position_keys"]}
        rows = [{"sy_readback": float(y), "sx_readback": float(x), "mono_energy": 0.8} for y, x in self.positions * 1e3]
        energy = {"mono_energy": {**NUMBER, "units": "keV"}}
        yield from self.stream("primary", self.path, rows, moved | energy, late)
        yield "stop", self.bundle.compose_stop()

    def stream(self, name, path, rows, keys, late):
        """Yield the documents of one stream, a frame in `path` with each of `rows`."""
        image = {**NUMBER, "dtype": "array", "dtype_numpy": "<u2", "external": "STREAM:",
            "shape": [1, *self.frames.shape[1:]]}  # fmt: skip
        descriptor = self.bundle.compose_descriptor(
            name=name,
            data_keys={"eiger_image": image, **keys},
            object_keys={"eiger": ["eiger_image"], **({"sy": ["sy_readback"], "sx": ["sx_readback"]} if keys else {})},
            configuration={"eiger": {"data": {"eiger_z": 121.0}, "timestamps": {"eiger_z": 0.0},
                "data_keys": {"eiger_z": {**NUMBER, "units": "mm"}}}},
        )  # fmt: skip
        resource = self.bundle.compose_stream_resource(
            mimetype="application/x-hdf5", uri=f"file://localhost{path}", data_key="eiger_image",
            parameters={"dataset": "/entry/data/data", "chunk_shape": [1, *self.frames.shape[1:]]},
        )  # fmt: skip
        yield "descriptor", descriptor.descriptor_doc
        yield "stream_resource", resource.stream_resource_doc
        for i, data in enumerate(rows):
            event = descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0), seq_num=i + 1, filled={})
            datum = resource.compose_stream_datum(
                indices={"start": i, "stop": i + 1}, seq_nums={"start": i + 1, "stop": i + 2},
                descriptor=descriptor.descriptor_doc,
            )  # fmt: skip
            pair = [("stream_datum", datum), ("event", event)]
            yield from reversed(pair) if late else pair
