"""Tell a session whose reconstructions are stored while its scans are not: their documents are gone with it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from .catalog.backup import is_kept
from .errors import NotFoundError

if TYPE_CHECKING:
    from .callbacks import Outcome
    from .catalog import Catalog

logger = logging.getLogger("bluesky_ptycho")

PATIENCE_S = 5.0
"""How long after its reconstruction a scan may still come: another process may be late in writing it."""

POLL_S = 0.5


class UnstoredScan:
    """For ``LivePtycho(on_done=[...])``: say, once, that the scan behind a result is not in the catalog.

    It looks until it has found one scan or has told. Scans that go to another catalog cannot be seen from here, so
    what is told leaves that open.

    Parameters
    ----------
    catalog : Catalog
        Where the reconstructions go.
    spelling : str
        How the session spells this catalog, for the line that would store its scans.
    """

    name = "look for the scan"

    def __init__(self, catalog: Catalog, spelling: str = "catalog") -> None:
        self._catalog, self._spelling = catalog, spelling
        self._over = False
        self._lock = threading.Lock()

    def __call__(self, outcome: Outcome) -> None:
        """Look for the scan of a finished reconstruction, in a thread that nobody waits for."""
        with self._lock:
            if not self._over and not self._comes(outcome.raw_uid):
                number = outcome.update.start.get("scan_id", "?")
                logger.warning(
                    "scan %s is not in catalog %s; unless something else stores it, it is lost: "
                    "RE.subscribe(%s.raw_writer()) stores scans",
                    number,
                    self._catalog.name,
                    self._spelling,
                )
            self._over = True

    def _comes(self, uid: str) -> bool:
        """Tell whether a scan is in the catalog within the patience, or cannot be asked for."""
        deadline = time.monotonic() + PATIENCE_S
        try:
            while not self._is_there(uid):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(POLL_S)
        except Exception:  # a catalog that does not answer has been told of by whoever stored the result
            logger.debug("scan %s cannot be looked for", uid, exc_info=True)
        return True

    def _is_there(self, uid: str) -> bool:
        if is_kept(self._catalog.backup_dir, uid):  # a writer has it, and has told that the catalog refused it
            return True
        try:
            self._catalog[uid]
        except NotFoundError:
            return False
        return True
