"""Names for an IPython session at a simulated beamline; the one module that works at import.

::

    %run -m bluesky_ptycho.startup                          # or: from bluesky_ptycho.startup import *
    %run -m bluesky_ptycho.startup -- --catalog elsewhere   # another than ./ptycho_catalog; options come after "--"
    %run -m bluesky_ptycho.startup -- --sample siemens
    %run -m bluesky_ptycho.startup -- --figure web          # the live figure, here in a browser

    RE(ptycho_scan(fccd, stage.y, stage.x, width=1.6, height=1.6, step=0.08, exposure=0.1, sample_name="gold"))
    last().show()
    recon.modes.put(2)                                      # a knob of the reconstruction, also while a scan runs
    report(-1, catalog)                                     # report.html, a page about the last scan
    attach(RE, catalog, settings=LiveSettings(passes=20))   # takes the place of ``live``

A real beamline has its own session: there `bluesky_ptycho.attach` adds the live reconstruction.
"""

from __future__ import annotations

import argparse
import atexit
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import NoReturn

from .callbacks import LivePtycho, LiveSettings
from .errors import PtychoError
from .plans import ptycho_fly_scan, ptycho_list_scan, ptycho_scan
from .replay import replay
from .report import report
from .session import attach
from .simulated_session import start_session
from .spelling import at_shell

FIGURES = ("auto", "window", "notebook", "png", "web")
CATALOG = Path("ptycho_catalog")
COMMAND = "%run -m bluesky_ptycho.startup"
AT_PROMPT = __name__ == "__main__" and "IPython" in sys.modules
"""Imported, the module belongs to a program, which has its own arguments and handles errors itself."""


def _refuse(message: str) -> NoReturn:
    """Show one line and end well: IPython adds lines of its own to any other exception."""
    print(f"{COMMAND}: {message}", file=sys.stderr)
    raise SystemExit from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if AT_PROMPT:
            _refuse(f"{message}; -- --help tells of all")
        super().error(message)


def _options() -> argparse.Namespace:
    parser = _Parser(prog=COMMAND, description="Start a simulated session.")
    parser.add_argument("place", type=Path, nargs="?", metavar="catalog", help="the same as --catalog")
    parser.add_argument("--catalog", type=Path, help=f"its directory (default: {CATALOG})")
    parser.add_argument("--sample", default="goldballs", help="goldballs, siemens, or an image file")
    parser.add_argument("--photons", type=float, default=1e6, help="photons a frame")
    parser.add_argument("--frame-rate", type=float, default=10.0, help="frames a second, at most 200")
    parser.add_argument("--camera", default="fccd", choices=("fccd", "plain"), help="plain: small and quick frames")
    parser.add_argument("--figure", nargs="?", const="auto", choices=FIGURES, help="show the live figure")
    given = sys.argv[1:] if __name__ == "__main__" else []
    # IPython takes "--" away only where nothing stands before it; argparse would take options behind it for names.
    options = parser.parse_args([argument for argument in given if argument != "--"])
    place = vars(options).pop("place")
    if place and options.catalog:
        parser.error(f"two catalogs, {place} and {options.catalog}; expected one")
    options.catalog = place or options.catalog or CATALOG
    return options


print("loading bluesky, opening the catalog ...", flush=True)
options = vars(_options())
figure = options.pop("figure")
try:
    with at_shell() if AT_PROMPT else nullcontext(), ExitStack() as undone:  # closed if it cannot be shown
        session = undone.enter_context(start_session(**options))
        if figure:
            session.live.show(figure)
        undone.pop_all()
except PtychoError as error:
    if AT_PROMPT:
        _refuse(str(error))
    raise
atexit.register(session.close)

RE, catalog, live = session.RE, session.catalog, session.live
fccd, stage, shutter, recon = session.fccd, session.stage, session.shutter, session.recon
last = session.last

__all__ = [
    "RE",
    "LivePtycho",
    "LiveSettings",
    "attach",
    "catalog",
    "fccd",
    "last",
    "live",
    "ptycho_fly_scan",
    "ptycho_list_scan",
    "ptycho_scan",
    "recon",
    "replay",
    "report",
    "session",
    "shutter",
    "stage",
]

print(f"{catalog!r}.")
print("To scan: RE(ptycho_scan(fccd, stage.y, stage.x, width=1.6, height=1.6, step=0.08, exposure=0.1)).")
print("last() is the newest scan with its reconstruction, last().show() draws it.")
print("live.show() shows scans while they grow, live.show('web') in a browser; recon.modes.put(2) turns a knob.")
print("report(-1, catalog) writes a page about the last scan; attach(RE, catalog, ...) takes the place of live.")
print("There are RE, catalog, fccd, stage, shutter, live, recon, last, attach, replay, report; attach? tells of one.")
