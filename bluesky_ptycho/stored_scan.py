"""A scan in the catalog together with its reconstruction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .callbacks.result_file import GROUP, LEARNT, result_path
from .callbacks.results import SUMMARY_KEY
from .catalog.newest import ending, holds_image, newest_result
from .errors import NotFoundError, PtychoError
from .frames import Snapshot
from .geometry import Canvas, Geometry
from .given import as_path
from .io.hdf5 import open_for_reading
from .output_file import check_output
from .summary import resolution_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .catalog import Catalog

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


@dataclass(frozen=True)
class StoredScan:
    """A raw run and the newest result run made of it that holds an image.

    Parameters
    ----------
    raw : tiled client
        The scan.
    result : tiled client or None
        Its newest reconstruction with an image, the newest where none has one, None while there is none.
    directory : Path
        Where pictures go unless told.
    later : tuple of tiled clients
        Reconstructions without an image that were begun after `result`, newest first.
    """

    raw: Any
    result: Any | None
    directory: Path
    later: tuple[Any, ...] = ()

    @property
    def has_image(self) -> bool:
        """Whether there is a reconstruction with an image."""
        return self.result is not None and holds_image(self.result)

    @property
    def note(self) -> str:
        """What is to be told of `result`: that a newer one has no image, or why it has none itself; else empty."""
        if self.result is None:
            return ""
        if not self.has_image:
            return f"there is no image: {ending(self.result)}"
        shown = self.result.metadata["start"]["uid"][:8]
        return f"the newest {ending(self.later[0])}; showing {shown}" if self.later else ""

    @property
    def object(self) -> NDArray[np.complex64]:
        """Object transmission, ``(rows, cols) complex64``, in stage coordinates."""
        return self._array("object")

    @property
    def probe(self) -> NDArray[np.complex64]:
        """Probe modes, ``(modes, ny, nx) complex64``."""
        return self._array("probe")

    @property
    def transmission(self) -> NDArray[np.float32] | None:
        """Transmission map on the object's grid, ``(rows, cols) float32``; None where there is none."""
        found: NDArray[np.float32] | None = self._array("stxm", optional=True)
        return found

    def show(self, path: str | Path | None = None) -> Path:
        """Draw the reconstruction to a file, and in a window where there are windows.

        Parameters
        ----------
        path : path, optional
            The file, PNG, PDF, SVG or JPEG; a PNG beside the result's data by default.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        NotFoundError
            If there is no reconstruction, or one without a single frame.
        PtychoError
            If `path` is none, or of no kind of picture, or cannot be written.
        """
        from .figure import reconstruction_figure

        if path is not None:
            path = as_path("path", path).expanduser()
            check_output(path, PICTURES, option="path")
        snapshot, stxm = self.snapshot(), self.transmission
        figure = reconstruction_figure(snapshot, stxm=stxm, title=self._title())
        file = path if path is not None else self.directory / f"{self._result().metadata['start']['uid']}.png"
        try:
            figure.savefig(file)
        except OSError as error:
            raise PtychoError(f"path is {file}, which cannot be written: {error.strerror or error}") from error
        _open_window(figure)
        return file

    def snapshot(self) -> Snapshot:
        """Return the stored reconstruction as the solver gave it; what an older version did not store is None.

        Raises
        ------
        NotFoundError
            If there is no reconstruction, or one without a single frame.
        """
        found = self._result()
        stream = found["primary"]
        where = stream.metadata["configuration"]["canvas"]["data"]
        geometry = Geometry.from_dict(found.metadata["start"]["geometry"])
        image, probe = self.object, self.probe
        figures = {name: self._figure(name) for name in ("iteration", "residual", *_FRC_SCALARS)}
        drift_m = [self._stop_figures().get(f"drift_{axis}_m") for axis in "yx"]
        curve = {name: self._array(f"frc_{name}", optional=True) for name in ("frequency_per_m", *_FRC_CURVES)}
        curve = {name: values for name, values in curve.items() if values is not None}
        settings = found.metadata["start"]["settings"]
        return Snapshot(
            object=image,
            probe=probe,
            canvas=Canvas(_pair(image.shape), _pair(where["origin_m"]), _pair(where["pixel_size_m"]), geometry.shape),
            geometry=geometry,
            coverage=self._array("coverage"),
            seq_nums=self._array("seq_nums"),
            positions_m=self._array("positions"),
            residuals=self._array("residual_history"),
            residual=figures["residual"],
            iteration=int(figures["iteration"]),
            frc={**curve, **{key: figures[name] for name, key in _FRC_SCALARS.items()}} if curve else None,
            settings={**settings.get("solver", {}), "modes": len(probe)},
            drift_m=None if None in drift_m else np.array(drift_m),
            converged=bool(self._stop_figures().get("converged")),
            **{field: self._array(name, optional=True) for name, (field, _) in LEARNT.items()},
        )

    def _result(self) -> Any:
        if self.result is None:
            raise NotFoundError(f"scan {self.raw.metadata['start']['uid']} has no reconstruction")
        if not self.has_image:
            why = ending(self.result)
            raise NotFoundError(f"scan {self.raw.metadata['start']['uid']} has no reconstruction with an image: {why}")
        return self.result

    def _stop_figures(self) -> dict[str, Any]:
        """Return the figures in the result's stop document, which cost no request; empty without one."""
        stop = (self.result.metadata.get("stop") if self.result is not None else None) or {}
        return dict(stop.get(SUMMARY_KEY, {}))

    def _figure(self, name: str) -> float:
        """Return a figure of the result; NaN where it is not known."""
        known = self._stop_figures()
        if name not in known:  # an older version stored it in the table alone
            return float(np.asarray(self._result()["primary"][name].read()).item())
        return math.nan if known[name] is None else float(known[name])

    def _array(self, name: str, *, optional: bool = False) -> Any:
        """Return an array of the result, from its file where that is at hand: a catalog takes seconds for all of them.

        Each array is stored with one row for the one event of a result, a single number as such.
        """
        path = result_path(self.directory, self._result().metadata["start"])
        if path.is_file():
            with open_for_reading(path) as file:
                group = file[GROUP]
                return None if optional and name not in group else np.atleast_1d(group[name][0])
        stream = self._result()["primary"]
        return None if optional and name not in stream else np.atleast_1d(stream[name][0])

    def _title(self) -> str:
        start = self.raw.metadata["start"]
        return " ".join(str(word) for word in ("scan", start.get("scan_id"), start.get("sample_name")) if word)

    def __repr__(self) -> str:
        if self.result is None:
            return f"<{self._title()}: not reconstructed>"
        if not self.has_image:
            return f"<{self._title()}: {self.note}>"
        told = [describe(self._stop_figures()), ".show() draws it, .object and .probe are arrays", self.note]
        return f"<{self._title()}: {'; '.join(filter(None, told))}>"


_FRC_CURVES = ("correlation", "half_bit")
_FRC_SCALARS = {"frc_resolution_m": "half_bit_m", "frc_one_seventh_m": "one_seventh_m"}


def newest_scan(catalog: Catalog) -> StoredScan:
    """Return the last scan of a catalog with its newest reconstruction that holds an image.

    Raises
    ------
    NotFoundError
        If the catalog is empty.
    """
    return find_scan(-1, catalog)


def find_scan(uid: int | str, catalog: Catalog) -> StoredScan:
    """Return a scan with its newest reconstruction that holds an image, or a reconstruction with its scan.

    Parameters
    ----------
    uid : int or str
        As for ``catalog[uid]``: of the scan, or of one of its reconstructions.
    catalog : Catalog

    Raises
    ------
    NotFoundError
        If there is no such run, or several.
    """
    run = catalog[uid]
    start = run.metadata["start"]
    if start.get("raw_uid"):
        return StoredScan(catalog[start["raw_uid"]], run, catalog.results_dir)
    newest = newest_result(catalog, start["uid"])
    return StoredScan(run, newest.result, catalog.results_dir, newest.later)


def describe(figures: Any) -> str:
    """Say in a few words what the figures of a result's stop document say."""
    sharp = resolution_text(figures.get("frc_resolution_m"), figures.get("frc_limit_m"))
    used = f"{figures.get('frames_used', 0)}/{figures.get('frames_taken', 0)} frames used"
    return f"resolution {sharp or 'unknown'}, {used}{', converged' if figures.get('converged') else ''}"


def _pair(values: Any) -> Any:
    return (values[0], values[1])


def _open_window(figure: Figure) -> None:
    """Show a finished figure where Matplotlib has windows (or a notebook to draw in)."""
    from matplotlib import pyplot as plt

    if plt.get_backend().lower() in ("agg", "pdf", "ps", "svg", "cairo", "template"):
        return
    picture = plt.figure(figsize=figure.get_size_inches() / 2)
    axes = picture.add_axes((0, 0, 1, 1))
    axes.imshow(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    axes.set_axis_off()
    plt.show(block=False)
