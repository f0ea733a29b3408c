"""Where the frames of a stored run lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import NotFoundError
from ..scan_plan import ScanPlan


@dataclass(frozen=True)
class FramesAsset:
    """HDF5 file of a stream's frames: its ``file://`` address and the data set in it."""

    uri: str
    dataset: str


def frames_uri(run: Any, stream: str = "primary", key: str | None = None) -> FramesAsset:
    """Return where the frames of a stored run lie.

    Reading the file with h5py is about a hundred times faster than through the server.

    Parameters
    ----------
    run : BlueskyRun
        As ``catalog[...]`` gives it.
    stream : str
        Stream of the run.
    key : str, optional
        Data key; by default the image key of the run's scan plan.

    Raises
    ------
    NotFoundError
        If the run has no such stream or no frames in it.
    """
    uid = run.start["uid"]
    if key is None:
        plan = ScanPlan.from_start(run.start)
        if plan is None or plan.detector is None:
            raise NotFoundError(f"run {uid} was not measured with a scan plan; give the data key of its frames")
        key = plan.detector.image_key
    try:
        source = run[stream][key].include_data_sources().data_sources()[0]
    except KeyError:
        raise NotFoundError(f"run {uid} has no frames {key!r} in a stream {stream!r}") from None
    return FramesAsset(source.assets[0].data_uri, source.parameters["dataset"])


def dark_run(catalog: Any, uid: int | str) -> Any | None:
    """Return the run that has the darks for a run: itself, an earlier one, or None.

    Raises
    ------
    NotFoundError
        If the run, or the earlier run that its plan names, is not in the catalog.
    """
    run = catalog[uid]
    plan = ScanPlan.from_start(run.start)
    if plan is None:
        return None
    if plan.dark_stream in run:
        return run
    return None if plan.dark_uid is None else catalog[plan.dark_uid]
