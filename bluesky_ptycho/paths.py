"""Where the files of a scan go: ``{root}/{cycle}/{proposal}/{date}/{scan_id:05d}_{sample}_{stream}.h5``."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import MetadataError

MAX_NAME_LENGTH = 64
"""Characters that :func:`sanitise` keeps of a name."""

_MICRO_SIGNS = str.maketrans({"µ": "u", "μ": "u"})


def sanitise(name: object, fallback: str = "unnamed") -> str:
    """Return `name` as one harmless component of a file name.

    Letters lose their accents; everything but ASCII letters, digits, ``.``, ``-`` and ``_``
    becomes ``_``. The result neither starts with a dot or a dash nor holds ``..``, so it can
    leave no directory and hide nowhere.

    Parameters
    ----------
    name : object
        Whatever a user typed; anything but a string is converted.
    fallback : str
        Returned when nothing of `name` is left.

    Returns
    -------
    str
        1 to ``MAX_NAME_LENGTH`` characters.
    """
    text = unicodedata.normalize("NFKD", str(name)[: 16 * MAX_NAME_LENGTH].translate(_MICRO_SIGNS))
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "_", text))
    return text.strip("._-")[:MAX_NAME_LENGTH].rstrip("._-") or fallback


def scan_label(start: Mapping[str, Any]) -> str:
    """Return the number of a scan as file names begin with it, ``00012``; made harmless if it is no number."""
    number = start.get("scan_id") or 0
    return f"{number:05d}" if isinstance(number, int) else sanitise(number, "scan")


class ScanPaths:
    """Name the files of each scan below one root.

    Parameters
    ----------
    root : path
        Everything lies below it; made when the first file is.
    md : mapping, optional
        The RunEngine's own ``RE.md``, not a copy: ``scan_id`` is read from it when a file is
        named, which is right once the run is open. ``cycle`` and ``proposal`` (or
        ``data_session``) name the directories.
    """

    def __init__(self, root: str | Path, md: Mapping[str, Any] | None = None) -> None:
        self.root = Path(root).expanduser().resolve()
        self.md: Mapping[str, Any] = {} if md is None else md

    def directory(self) -> Path:
        """Return today's directory; it need not exist yet.

        Raises
        ------
        MetadataError
            If a link on the way leads out of the root.
        """
        cycle = sanitise(self.md.get("cycle", ""), "no_cycle")
        directory = self.root / cycle / _proposal(self.md) / datetime.date.today().isoformat()
        if not directory.resolve().is_relative_to(self.root):
            raise MetadataError(f"directory {directory} leads to {directory.resolve()}; expected it within {self.root}")
        return directory

    def stem(self, label: object = "scan") -> Path:
        """Return directory and start of the file names of a scan, ``.../00012_goldballs``.

        Parameters
        ----------
        label : object
            Name of the sample; sanitised here. The number is that of the run which is open, or was last.
        """
        return self.directory() / f"{int(self.md.get('scan_id', 0)):05d}_{sanitise(label)}"

    def file(self, stream: str, label: object = "scan", suffix: str = ".h5") -> Path:
        """Return a path for a new file and make its directory.

        A name that is taken gets a number (``..._primary_2.h5``); nothing is overwritten.
        """
        stem = self.stem(label)
        stem.parent.mkdir(parents=True, exist_ok=True)
        name, attempt = f"{stem.name}_{sanitise(stream, 'stream')}", 1
        path = stem.with_name(name + suffix)
        while path.exists():
            attempt += 1
            path = stem.with_name(f"{name}_{attempt}{suffix}")
        return path


def _proposal(md: Mapping[str, Any]) -> str:
    """Return the proposal's directory; facilities store a number, a name or a mapping."""
    proposal = md.get("proposal") or md.get("data_session") or ""
    if isinstance(proposal, Mapping):
        proposal = proposal.get("proposal_id") or proposal.get("id") or md.get("data_session") or ""
    return sanitise(proposal, "no_proposal")
