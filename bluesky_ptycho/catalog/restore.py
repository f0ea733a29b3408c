"""Store the runs that a catalog did not take, from the files in which their documents were kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NotFoundError, PtychoError, in_a_line
from ..file_lock import take_lock
from ..terminal import printable
from .backup import SUFFIX
from .tree import plain

DONE = ".restored"
"""Added to the name of a file whose run is stored."""


@dataclass(frozen=True)
class Restored:
    """What became of one file: `uid` of its run, and `error` if it could not be stored."""

    path: Path
    uid: str = ""
    error: str = ""


def kept_files(places: Iterable[str | Path]) -> list[Path]:
    """Return the files of kept runs: those named, and those in the directories named.

    Raises
    ------
    NotFoundError
        If a place does not exist.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise NotFoundError(f"backup {place} does not exist; expected a file of documents, or a directory of them")
        found += sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else [place]
    return found


def restore(files: Iterable[Path], catalog: Any) -> Iterator[Restored]:
    """Store each file's run, and add ``.restored`` to the names of those that are; what fails stays as it is.

    A run of which the catalog has a part is stored anew; one that it has whole is left alone. Frames and arrays
    are read where the documents say they lie.

    Parameters
    ----------
    files : iterable of Path
        As :func:`kept_files` gives them.
    catalog : Catalog
    """
    for path in files:
        uid = ""
        try:
            with path.open("rb") as file:
                if not take_lock(file):
                    raise PtychoError("its run is still being written")
                documents = list(_documents(file.read()))
                uid = documents[0][1]["uid"]
                _store(documents, catalog)
            os.replace(path, path.with_name(path.name + DONE))
            yield Restored(path, uid)
        except Exception as error:
            unreadable = isinstance(error, PermissionError) and error.filename == str(path)
            yield Restored(path, uid, "permission denied" if unreadable else in_a_line(error))


def _documents(content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and document; a last line that was cut short is left out."""
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            name, doc = entry["name"], dict(entry["doc"])
            lacking = _lacking(name, doc)
        except (ValueError, KeyError, TypeError):
            raise PtychoError(
                f"line {number} is {_shown(line)}; expected a document as Bluesky makes it, "
                '{"name": "start", "doc": {...}} in one line'
            ) from None
        if lacking:
            raise PtychoError(
                f"line {number} is a {name!r} document without {', '.join(lacking)}; expected a whole one"
            )
        if (number == 1) != (name == "start"):
            raise PtychoError(f"line {number} is a {name!r} document; expected one run, which begins with its 'start'")
        yield name, doc
    if not lines:
        raise PtychoError(f"it holds no document{', only a part of one' if rest else ''}; expected those of a run")


def _shown(line: bytes) -> str:
    try:
        return repr(printable(line.decode(), 40))
    except UnicodeDecodeError:  # of an image or HDF5: no words that would help
        return "no text"


def _lacking(name: str, doc: dict[str, Any]) -> list[str]:
    """Return the keys that a document of this name must have and `doc` has not; KeyError if none is called so."""
    from event_model import DocumentNames, schema_validators

    errors = schema_validators[DocumentNames[name]].iter_errors(doc)
    return sorted(
        {key for e in errors if e.validator == "required" and not e.path for key in e.validator_value} - {*doc}
    )


def _store(documents: list[tuple[str, dict[str, Any]]], catalog: Any) -> None:
    start = documents[0][1]
    is_result = start.get("analysis") is not None
    if is_result:
        catalog.require_results()
    container = catalog.processed if is_result else catalog.raw
    # What waits in a batch is written with the stop, which of a run that was cut short never comes.
    stored = plain(container)
    writer = catalog.writer_into(container, **({} if documents[-1][0] == "stop" else {"batch": 1}))
    if start["uid"] in stored:
        run = stored[start["uid"]]
        if run.metadata.get("stop"):
            return
        run.delete(recursive=True, external_only=False)
    for name, doc in documents:
        writer(name, doc)
