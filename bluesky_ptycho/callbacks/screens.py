"""Where a live picture is shown: a window, a notebook, files, a web page.

``show`` is called by the thread of the sink and returns soon. Drawing takes at most a fifth of the time: what comes too
early waits, and the newest replaces it; the last view of a run is always drawn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..figure import LivePicture, LiveView
from ..figure.live_picture import HEIGHT, PARTS, WIDTH
from ..figure.live_words import state_colour
from ..whole_file import write_whole
from .file_sinks import SHARE
from .scan_line import Region

ScanLine = Callable[[Region], str]


class Screen(Protocol):
    """Shows one view after the other."""

    def show(self, view: LiveView, *, last: bool) -> None:
        """Show `view`; `last` if no other of its run comes."""

    def close(self) -> None:
        """Give up what is held."""


class Pace:
    """Lets drawing take a part of a core's time, and no more; a core that others use counts as theirs."""

    def __init__(self, share: float = SHARE) -> None:
        self._share, self._next_at = share, 0.0

    @property
    def is_due(self) -> bool:
        """Whether the next drawing may begin."""
        return time.monotonic() >= self._next_at

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Count what is done within."""
        begun = time.thread_time()
        yield
        self._next_at = time.monotonic() + (time.thread_time() - begun) * (1 / self._share - 1)


class FileScreen:
    """Keeps a PNG up to date.

    Parameters
    ----------
    path : callable
        ``path(view)`` gives the file of a view; its directory is there.
    """

    def __init__(self, path: Callable[[LiveView], Path]) -> None:
        self._path, self._pace = path, Pace()
        self._picture = LivePicture()

    def show(self, view: LiveView, *, last: bool) -> None:
        """Write the picture if it is time.

        Raises
        ------
        OSError
            If the file cannot be written; the one before stays.
        """
        if not (last or self._pace.is_due):
            return
        with self._pace.drawing():
            self._picture.show(view)
            write_whole(self._path(view), self._picture.encoded())

    def close(self) -> None:
        """Leave the files as they are."""


class NotebookScreen:
    """An image below the cell that made it; it is replaced from whatever thread draws, also while another cell runs."""

    def __init__(self) -> None:
        from IPython.display import display

        self._picture, self._pace = LivePicture(), Pace()
        self._handle: Any = display(self._image(), display_id=True)

    def _image(self) -> Any:
        from IPython.display import Image

        return Image(self._picture.encoded(), format="png", width=WIDTH // 2)

    def show(self, view: LiveView, *, last: bool) -> None:
        """Replace the image if it is time."""
        if not (last or self._pace.is_due):
            return
        with self._pace.drawing():
            self._picture.show(view)
            self._handle.update(self._image())

    def close(self) -> None:
        """Leave the last image in the notebook."""


class PageScreen:
    """The source of a :class:`~bluesky_ptycho.web.PageServer`: draws when somebody looks."""

    def __init__(self, scan_line: ScanLine) -> None:
        self._scan_line = scan_line
        self._picture, self._pace = LivePicture(), Pace()
        self._drawing, self._lock = threading.Lock(), threading.Lock()
        self._view: LiveView | None = None
        self._number, self._drawn_number = 0, 0
        self._image: bytes | None = None
        self._maps: list[dict[str, float]] = []

    def show(self, view: LiveView, *, last: bool) -> None:
        """Keep `view` for whoever asks."""
        with self._lock:
            self._view, self._number = view, self._number + 1

    def close(self) -> None:
        """Nothing is held."""

    def state(self) -> dict[str, Any]:
        """Return words, the number of the picture that is to be had now, and where its maps and parts lie."""
        with self._lock:
            view, maps = self._view, self._maps
            number = self._number if self._pace.is_due else self._drawn_number
        if view is None:
            return {
                "title": "Waiting for a scan", "state": "", "colour": "", "taken": 0, "planned": 0, "facts": [],
                "messages": [], "picture": None,
            }  # fmt: skip
        return {
            "title": view.title,
            "state": view.state,
            "colour": state_colour(view.state),
            "taken": view.taken,
            "planned": view.planned,
            "facts": [list(fact) for fact in view.facts],
            "messages": list(view.messages),
            "picture": number or None,
            "size": [WIDTH, HEIGHT],
            "maps": maps,
            "parts": [[name, *box] for name, box in PARTS.items()],
        }

    def picture(self) -> bytes | None:
        """Return the newest view as WebP, drawn now if it is time; None before the first."""
        with self._drawing:
            with self._lock:
                view, number = self._view, self._number
            if view is not None and number != self._drawn_number and self._pace.is_due:
                with self._pace.drawing():
                    self._picture.show(view)
                    image = self._picture.encoded("webp", quality=85, method=2)
                with self._lock:
                    self._image, self._maps, self._drawn_number = image, self._picture.stage_maps(), number
            return self._image

    def scan_line(self, region_um: Region) -> str:
        """Return the line that scans a region."""
        return self._scan_line(region_um)
