"""One file with what a bug report needs: documents, messages, some frames, settings and versions."""

from __future__ import annotations

import io
import json
import platform
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .callbacks.results import LOG_KEY, SUMMARY_KEY
from .catalog.search import results_of
from .discretion import Discretion, personal_words
from .doctor import examine, format_finding
from .errors import PtychoError, in_a_line
from .preprocess import PreprocessSettings
from .raw_scan import stored_scan
from .replay import stored_documents
from .versions import software_versions
from .whole_file import write_whole

MOST_FRAMES = 20
MOST_LOG_BYTES = 5 * 2**20
"""Of each log file; its end counts."""

README = """Made by `bluesky-ptycho bug-report`: open it and look before you send it.

{contents}

Left out, as far as it can be told: keys and passwords, names of users and machines, proposals, sample names, and the
directories where things lie (paths became /path-NUMBER). Frames and positions show what was measured.
"""


@dataclass(frozen=True)
class Part:
    """A file of the archive: its name, what it holds, and its content."""

    name: str
    meaning: str
    content: bytes


def write_bug_report(
    uid: int | str, catalog: Any, path: Path | str, *, logs: Iterable[Path | str] = (), n_frames: int = MOST_FRAMES
) -> list[Part]:
    """Write the archive of a run; it appears whole or not at all.

    What fails to be had is named in it: a bug report is wanted most where something is broken.

    Parameters
    ----------
    uid : int or str
        Of a scan or a result, as for ``catalog[uid]``.
    catalog : Catalog
    path : path
        The .zip file.
    logs : iterable of path
        Log files to add, beside those that results note.
    n_frames : int
        At most so many raw frames, all over the scan.

    Returns
    -------
    list of Part
        What is in it.

    Raises
    ------
    NotFoundError
        If there is no such run.
    OSError
        If the file cannot be written.
    """
    run = catalog[uid]
    raw_uid = run.metadata["start"].get("raw_uid")
    raw = run if raw_uid is None else catalog[raw_uid]
    results = list(results_of(catalog, [raw.metadata["start"]["uid"]]))
    names = [word for stored in (raw, *results) for word in personal_words(stored.metadata["start"])]
    hide = Discretion([catalog.name, *catalog.readable_roots, catalog.backup_dir], names)
    parts = list(_parts(raw, results, catalog, hide, logs, n_frames))
    contents = "\n".join(f"{part.name}: {part.meaning}" for part in parts)
    parts.insert(0, Part("README.txt", "what is here", README.format(contents=contents).encode()))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for part in parts:
            file.writestr(part.name, part.content)
    write_whole(path, archive.getbuffer())
    return parts


def _parts(
    raw: Any, results: list[Any], catalog: Any, hide: Discretion, logs: Iterable[Path | str], n_frames: int
) -> Iterator[Part]:
    raw_uid = raw.metadata["start"]["uid"]
    n_results = f"{len(results)} reconstruction{'' if len(results) == 1 else 's'}"
    for name, meaning, make in (
        ("scan.jsonl", "documents of the scan", lambda: _documents([raw], hide)),
        ("results.jsonl", f"documents of its {n_results}", lambda: _documents(results, hide)),
        ("settings.json", "settings of each reconstruction", lambda: _settings(results, hide)),
        ("messages.txt", "what each reconstruction told", lambda: _messages(results, hide)),
        ("versions.json", "software and system", _versions),
        ("doctor.txt", "what bluesky-ptycho doctor says", lambda: _doctor(raw_uid, catalog, hide)),
        ("frames.h5", f"{n_frames} raw frames at most, with their points", lambda: _frames(raw_uid, catalog, n_frames)),
        *(
            (f"log-{i}.txt", "end of a log file that was given", lambda log=log: _log(log, hide))
            for i, log in enumerate(logs, 1)
        ),
        *(
            (f"reconstruction-log-{uid[:8]}.txt", f"log of reconstruction {uid[:8]}", lambda log=log: _log(log, hide))
            for uid, log in _noted_logs(results).items()
        ),
    ):
        try:
            yield Part(name, meaning, make())
        except Exception as error:
            told = hide.text(in_a_line(error))
            yield Part(f"{name}.missing.txt", f"why {name} is not here", told.encode())


def _documents(runs: Iterable[Any], hide: Discretion) -> bytes:
    lines = [
        json.dumps([name, hide.document(doc)], default=_plain) for run in runs for name, doc in stored_documents(run)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _settings(results: list[Any], hide: Discretion) -> bytes:
    starts = [run.metadata["start"] for run in results]
    return json.dumps(
        {s["uid"]: hide.document(s.get("settings", {})) for s in starts}, indent=1, default=_plain
    ).encode()


def _messages(results: list[Any], hide: Discretion) -> bytes:
    lines = []
    for run in results:
        stop = run.metadata.get("stop") or {}
        lines.append(
            f"{run.metadata['start']['uid']}: {stop.get('exit_status', 'open')} {stop.get('reason', '')}".strip()
        )
        lines += [f"  {message}" for message in (stop.get(SUMMARY_KEY) or {}).get("messages", ())]
    return hide.text("\n".join(lines) + "\n").encode()


def _versions() -> bytes:
    system = {"python": platform.python_version(), "platform": platform.platform(), "machine": platform.machine()}
    return json.dumps({**system, **software_versions()}, indent=1).encode()


def _doctor(uid: str, catalog: Any, hide: Discretion) -> bytes:
    lines = [format_finding(finding, signs=False) for finding in examine(catalog, uid)]
    return hide.text("\n".join(lines) + "\n").encode()


def _frames(uid: str, catalog: Any, n_frames: int) -> bytes:
    """Return an HDF5 file of frames ``(n, K, H, W)`` and the numbers of their points, of those that can be read."""
    with stored_scan(uid, catalog, PreprocessSettings()) as scan:
        stride = -(-len(scan.points) // n_frames)
        points = scan.points[::stride]
        frames, problems = scan.read(points)
    if not len(frames):
        raise PtychoError(next(iter(problems.values())))
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file["frames"] = frames
        file["points"] = [point.seq_num for i, point in enumerate(points) if i not in problems]
    return image.getvalue()


def _noted_logs(results: list[Any]) -> dict[str, Path]:
    """Return the log files that reconstructions keep, by the uids of these."""
    found = {}
    for run in results:
        start, stop = run.metadata["start"], run.metadata.get("stop") or {}
        for place in (start, stop, stop.get(SUMMARY_KEY) or {}):
            if isinstance(place.get(LOG_KEY), str):
                found[start["uid"]] = Path(place[LOG_KEY])
    return found


def _log(path: Path | str, hide: Discretion) -> bytes:
    with Path(path).open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - MOST_LOG_BYTES))
        return hide.text(file.read().decode(errors="replace")).encode()
