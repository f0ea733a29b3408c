"""Run the notebook of a report and turn it into a page."""

from __future__ import annotations

import importlib
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFoundError, PtychoError
from ..given import as_path
from ..keywords import checks_arguments
from ..output_file import check_output, require_different
from ..spelling import spelled
from ..terminal import printable
from ..whole_file import write_whole
from .pdf import html_to_pdf

if TYPE_CHECKING:
    from ..catalog import Catalog

logger = logging.getLogger("bluesky_ptycho")

TEMPLATE = Path(__file__).with_name("ptycho_report.ipynb")
"""The notebook: its cells ask `contents`, `figures` and `tables`."""
NEEDED = ("papermill", "nbconvert", "nbformat", "ipykernel")
SUFFIXES = (".html", ".pdf")
PATIENCE_S = 600
"""For the kernel to start, and for each cell: an overloaded machine is no failure."""


@checks_arguments
def report(
    uid: int | str = -1,
    catalog: Catalog | str | Path | None = None,
    output: str | Path = "report.html",
    *,
    notebook: str | Path | None = None,
    template: str | Path | None = None,
) -> Path:
    """Write a page about a scan and its reconstruction, and note in the catalog where it lies.

    A process of its own runs the notebook that ships with the package, and finds scan and result in the catalog.

    Parameters
    ----------
    uid : int or str
        Of the scan, whose newest reconstruction is taken, or of a reconstruction; else as for ``catalog[uid]``.
    catalog : Catalog, path or str, optional
        As :func:`~bluesky_ptycho.catalog.open_catalog` takes it.
    output : path
        ``.html``, one file that holds its pictures and runs nothing, or ``.pdf``, for which Chromium or Chrome must
        be installed. It appears whole or not at all.
    notebook : path, optional
        Where the notebook is kept as it was run, to be edited and run again.
    template : path, optional
        Notebook that is run in the place of the package's; it has a cell with the tag ``parameters``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PtychoError
        If the extra ``report`` is not installed, a file has a suffix that nobody can write or cannot be written, there
        is no browser for a PDF, or a cell of the notebook fails.
    NotFoundError
        If there is no such run, or no reconstruction of it.
    """
    from ..catalog import Catalog, open_catalog
    from .contents import address_of, find_reconstruction, scan_title

    require_extra()
    output, source = as_path("output", output), TEMPLATE if template is None else as_path("template", template)
    _check_files(output, None if notebook is None else as_path("notebook", notebook), source)
    opened = nullcontext(catalog) if isinstance(catalog, Catalog) else open_catalog(catalog, create=False)
    with opened as found:
        stored, result = find_reconstruction(uid, found)
        if stored.has_image and stored.note:
            logger.warning("%s", stored.note)
        title, result_uid = scan_title(stored.raw.metadata["start"]), result.metadata["start"]["uid"]
        executed = _run(source, {"uid": result_uid, "catalog": address_of(found)}, title)
        if notebook is not None:
            write_whole(notebook, _as_text(executed))
        page = _page(executed)
        write_whole(output, html_to_pdf(page) if output.suffix.lower() == ".pdf" else page)
        _note(result, output)
    return output


def require_extra() -> None:
    """Make sure that what runs notebooks is there.

    Raises
    ------
    PtychoError
        If it is not.
    """
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as missing:
            raise PtychoError(
                f"a report needs {name}, which cannot be imported ({missing}): "
                "python -m pip install 'bluesky-ptycho[report]'"
            ) from None


def _check_files(output: Path, notebook: Path | None, source: Path) -> None:
    check_output(output, SUFFIXES, inputs=[source], option="output", beside_results=True)
    if notebook is not None:
        check_output(notebook, inputs=[source], option="notebook", beside_results=True)
        require_different(output, notebook, "notebook")
    require_notebook(source)


def require_notebook(source: Path) -> None:
    """Make sure that a template can be run.

    Raises
    ------
    NotFoundError, PtychoError
        If it is no file, or no notebook.
    """
    import nbformat

    if not source.is_file():
        raise NotFoundError(f"{spelled('template')} {str(source)!r} is no file; expected a notebook")
    try:
        nbformat.reads(source.read_text(encoding="utf-8"), as_version=4)
    except OSError:
        raise
    except Exception as error:  # what holds other JSON fails in ways of its own
        reason = printable(getattr(error, "message", error), 200)
        raise PtychoError(f"{spelled('template')} {str(source)!r} is no notebook: {reason}") from None


def _run(source: Path, parameters: dict[str, Any], title: str) -> Any:
    """Return the executed notebook."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    from .kernel import PoliteKernelManager

    try:
        executed = papermill.execute_notebook(
            source,
            None,
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            config=Config(KernelManager={"transport": "ipc"}),  # no port that others on the machine could reach
            start_timeout=PATIENCE_S,
            execution_timeout=PATIENCE_S,
            kernel_manager_class=PoliteKernelManager,
        )
    except PapermillExecutionError as error:
        cause = " ".join(f"{error.ename}: {error.evalue}".split())
        raise PtychoError(f"cell {error.cell_index + 1} of {source.name} failed: {cause}") from error
    executed.metadata["title"] = title
    return executed


def _as_text(notebook: Any) -> bytes:
    import nbformat

    return f"{nbformat.writes(notebook)}\n".encode()


def _page(notebook: Any) -> bytes:
    """Return the page as HTML; code is folded away."""
    from nbconvert import HTMLExporter

    place = str(Path(__file__).parent)
    exporter = HTMLExporter(template_name="page", extra_template_basedirs=[place], exclude_anchor_links=True)
    page: str = exporter.from_notebook_node(notebook)[0]
    return page.encode()


def _note(result: Any, output: Path) -> None:
    """Note the path in the catalog; one that may not be written to costs the note, not the report."""
    from ..catalog.notes import note_report

    try:
        note_report(result, output)
    except Exception as refused:
        logger.warning("the catalog does not take a note of the report: %s", refused)
