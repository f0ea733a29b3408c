"""The live figure: a sink that shows a scan and its reconstruction while both grow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from ..errors import PtychoError, SettingsError
from ..figure import LiveView
from ..given import as_path, check_can, check_count, check_type
from ..keywords import checks_arguments
from ..scan_plan import ScanPlan
from .file_sinks import DIRECTORY, scan_directory
from .live_views import LiveViews
from .scan_line import Region, scan_line
from .screens import FileScreen, NotebookScreen, PageScreen, Screen
from .updates import Update

if TYPE_CHECKING:
    from ..web import Knobs

BACKENDS = ("auto", "window", "notebook", "png", "web")
FILE = "live.png"


class LivePtychoFigure:
    """Show object, probe, maps, newest frame, curves and counters of the running scan.

    A sink for :class:`~bluesky_ptycho.callbacks.LivePtycho`, whose method ``show`` makes one. It draws in its own
    thread, in a window in the main thread, or for a page when somebody looks; scan and reconstruction do not wait.

    Parameters
    ----------
    backend : {"auto", "window", "notebook", "png", "web"}
        "auto" takes a window where Matplotlib's backend is Qt's, an image in a notebook, a figure of ipympl, and files
        anywhere else: only Qt draws while a RunEngine works.
    directory : path
        Scans' directories are made in it; files are ``live.png`` there.
    host, port, token
        As for :class:`~bluesky_ptycho.web.PageServer`, with "web".
    knobs : ReconControl, optional
        With "web": whose knobs who opens the page may turn. Without it the page is read-only.

    Attributes
    ----------
    backend : str
        The one that was taken.
    url : str or None
        Address of the page, with the token if there is one.

    Raises
    ------
    SettingsError
        If the backend is not known or has no knobs, or a window cannot be opened.
    PtychoError
        If the page cannot be served.
    """

    name = "live figure"

    @checks_arguments
    def __init__(
        self,
        backend: str = "auto",
        *,
        directory: str | Path = DIRECTORY,
        host: str = "127.0.0.1",
        port: int | None = None,
        token: str | None = None,
        knobs: Knobs | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise SettingsError(f"backend is {backend!r}; expected one of {', '.join(map(repr, BACKENDS))}")
        self._root = as_path("directory", directory).expanduser().absolute()
        self._views = LiveViews()
        self._scan: tuple[Mapping[str, Any], ScanPlan] | None = None
        self.url: str | None = None
        self._server: Any = None
        self.backend = fitting_backend() if backend == "auto" else backend
        if self.backend == "png":
            _check_directory(self._root)
        for what, value in (("knobs are", knobs), ("port is", port), ("token is", token)):
            if value is not None and self.backend != "web":
                raise SettingsError(f"{what} given with backend {self.backend!r}; expected 'web'")
        check_type("host", host, str, "a network address, as 127.0.0.1")
        check_type("token", token, (str, NoneType), "text, or None")
        if port is not None:
            check_count("port", port)
        if knobs is not None:
            check_can("knobs", knobs, ["shown", "put_text"], "a ReconControl, or None")
        self._screen = self._open(host, port, token, knobs)

    def _open(self, host: str, port: int | None, token: str | None, knobs: Knobs | None) -> Screen:
        if self.backend == "notebook":
            return NotebookScreen()
        if self.backend == "window":
            from .window_screen import WindowScreen

            return WindowScreen(self.scan_line, lambda: FileScreen(self._file))
        if self.backend == "png":
            return FileScreen(self._file)
        from ..web import PageServer

        page = PageScreen(self.scan_line)
        self._server = PageServer(page, host, port, token, knobs)
        self.url = self._server.url
        print(f"live figure at {self.url}", flush=True)  # noqa: T201
        return page

    def __call__(self, update: Update) -> None:
        """Show the state after `update`.

        Raises
        ------
        OSError
            If a file cannot be written.
        """
        self._scan = update.start, update.plan
        self._screen.show(self._views.of(update), last=update.kind == "final")

    def scan_line(self, region_um: Region) -> str:
        """Return the line that scans a region ``(y_min, y_max, x_min, x_max)`` in µm, as the scan that is shown did.

        Raises
        ------
        PtychoError
            If no scan has been shown yet, or the region is empty.
        """
        if self._scan is None:
            raise PtychoError("no scan has been shown yet, whose step and exposure a new one could have")
        return scan_line(*self._scan, region_um)

    def _file(self, view: LiveView) -> Path:
        assert self._scan is not None
        return scan_directory(self._root, self._scan[0]) / FILE

    def close(self) -> None:
        """Close the window or end the page; files and images stay."""
        self._screen.close()
        if self._server is not None:
            self._server.close()
            self._server = None

    def __repr__(self) -> str:
        address = self.url and self.url.partition("?")[0]  # what is printed is shown and copied, the token is not
        where = address or {"png": f"{self._root}/*/{FILE}"}.get(self.backend, f"in a {self.backend}")
        return f"<LivePtychoFigure {where}>"


def _check_directory(root: Path) -> None:
    """Refuse now what would be told only when a scan has come."""
    there = next(place for place in (root, *root.parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        lack = "cannot be written to" if there.is_dir() else "is a file"
        raise SettingsError(f"directory is {root}, and {there} {lack}; expected one that can be made")


def fitting_backend() -> str:
    """Return the backend that draws while a RunEngine works in this session."""
    import matplotlib as mpl

    name = mpl.get_backend().lower()
    if "qt" in name or "ipympl" in name or name == "widget":
        return "window"
    return "notebook" if "inline" in name else "png"
