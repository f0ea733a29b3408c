"""A report of each scan when its reconstruction is done."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PtychoError
from ..given import as_path, check_can
from ..keywords import checks_arguments
from ..output_file import check_output_directory
from ..paths import scan_label

if TYPE_CHECKING:
    from ..callbacks import Outcome
    from ..catalog import Catalog

logger = logging.getLogger("bluesky_ptycho")

PATIENCE_S = 600.0


class ReportAtEnd:
    """For ``LivePtycho(on_done=[...])``: write ``{scan_id}_{uid of the result}.html``.

    Parameters
    ----------
    catalog : Catalog
        Where the results are stored.
    directory : path, optional
        Where the reports go; beside the reconstructions' data by default.

    Raises
    ------
    PtychoError
        If the extra ``report`` is not installed, or `directory` cannot be one: before the first scan, not after it.
    """

    name = "report"

    @checks_arguments
    def __init__(self, catalog: Catalog, directory: str | Path | None = None) -> None:
        from .making import require_extra

        require_extra()
        check_can("catalog", catalog, ["result_writer"], "a Catalog, as open_catalog gives it")
        self._catalog = catalog
        if directory is None:
            self._directory = Path(catalog.results_dir).absolute()
        else:
            self._directory = report_directory("directory", directory)

    def __call__(self, outcome: Outcome) -> None:
        """Write the report in another process, which takes no time from this one; nothing without a stored result.

        Raises
        ------
        PtychoError
            If it cannot be made.
        """
        from .contents import address_of

        uid = outcome.result_uid
        if uid is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        output = self._directory / f"{scan_label(outcome.update.start)}_{uid}.html"
        command = [sys.executable, "-m", "bluesky_ptycho", "--quiet", "report", uid]
        command += ["--catalog", address_of(self._catalog), "--output", str(output)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
            raise PtychoError(f"the report of result {uid[:8]} cannot be made: {last}")
        logger.info("report of scan %s: %s", outcome.update.start.get("scan_id", "?"), output)


def report_directory(name: str, given: str | Path) -> Path:
    """Return the directory for reports that the argument `name` gives.

    Raises
    ------
    SettingsError, PtychoError
        If it is no path, or no file can be made there.
    """
    directory = as_path(name, given).expanduser().absolute()
    check_output_directory(directory, option=name, beside_results=True)
    return directory
