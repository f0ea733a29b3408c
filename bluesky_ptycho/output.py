"""Write what a command leaves behind: summary.json, result.cxi, reconstruction.png."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import PtychoError
from .figure import save_reconstruction_png
from .io.cxi import write_result_cxi
from .output_file import check_output_directory
from .summary import Summary
from .terminal import say
from .versions import software_versions

if TYPE_CHECKING:
    from .callbacks import LivePtycho, Outcome


def make_directory(path: Path) -> None:
    """Make an output directory if there is none.

    Raises
    ------
    PtychoError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PtychoError(f"output directory {path} cannot be made: {error.strerror}") from error


def make_numbered_directory(path: Path) -> Path:
    """Make a directory that was not there, `path`, else ``path_2``, ``path_3`` and so on; return it.

    Raises
    ------
    PtychoError
        If it cannot be made.
    """
    directory, number = path, 1
    while directory.exists():
        number += 1
        directory = path.with_name(f"{path.name}_{number}")
    try:
        directory.mkdir(parents=True)
    except FileExistsError:  # another process has just made it
        return make_numbered_directory(path)
    except OSError as error:
        raise PtychoError(f"output directory {directory} cannot be made: {error.strerror}") from error
    return directory


@contextlib.contextmanager
def output_directory(wanted: Path | None, default: Path) -> Iterator[Path]:
    """Give a directory for what a command leaves; where the command fails and has left nothing, it goes again.

    Parameters
    ----------
    wanted : Path or None
        Made if absent; None for a new one, `default` or that with a number.

    Raises
    ------
    PtychoError
        If it cannot be made, or is among a catalog's own.
    """
    place = default if wanted is None else wanted
    check_output_directory(place)
    absent = [directory for directory in place.parents if not directory.exists()]
    known = wanted is not None and wanted.exists()
    if wanted is None:
        place = make_numbered_directory(default)
    else:
        make_directory(place)
    try:
        yield place
    except BaseException:
        with contextlib.suppress(OSError):  # what holds something stays
            for directory in () if known else (place, *absent):
                directory.rmdir()
        raise


def write_output(
    directory: Path,
    outcome: Outcome,
    *,
    scan_seconds: float | None = None,
    object_nrmse: float | None = None,
    written: Iterable[str] = (),
) -> Summary:
    """Write the outcome of a live or replayed run to `directory`; say how good it is and where it lies.

    Parameters
    ----------
    directory : Path
        Made if absent.
    outcome : Outcome
        What the live callback gave.
    scan_seconds : float, optional
        Duration of the scan itself.
    object_nrmse : float, optional
        Error against a known object.
    written : iterable of str
        What lies there already and belongs to it, to be named too.

    Returns
    -------
    Summary
        What was written to ``summary.json``.
    """
    make_directory(directory)
    update, snapshot = outcome.update, outcome.snapshot
    frc = snapshot.frc if snapshot is not None else None
    summary = Summary(
        raw_uid=outcome.raw_uid,
        result_uid=outcome.result_uid,
        n_frames=update.progress.taken,
        scan_seconds=scan_seconds,
        seconds_after_last_frame=outcome.seconds_after_last_frame,
        iterations=update.progress.iteration,
        residual=None if snapshot is None else snapshot.residual,
        object_nrmse=object_nrmse,
        frc_resolution_m=None if frc is None else frc["half_bit_m"],
        frames_lost=update.progress.taken - update.progress.used - update.progress.rejected,
        propagation=None if snapshot is None else snapshot.geometry.propagation,
        focus_to_sample_m=None if snapshot is None else snapshot.geometry.focus_to_sample_m,
    )
    names = [*written, "summary.json"]
    if snapshot is not None:
        sample = str(update.start.get("sample_name", ""))
        title = f"scan {update.start.get('scan_id', '')} {sample}"
        write_result_cxi(
            directory / "result.cxi",
            snapshot,
            sample_name=sample,
            raw_uid=outcome.raw_uid,
            versions=software_versions(),
            stxm=update.stxm,
        )
        save_reconstruction_png(directory / "reconstruction.png", snapshot, stxm=update.stxm, title=title)
        names += ["result.cxi", "reconstruction.png"]
    summary.write(directory / "summary.json")
    reason = f" ({update.reason})" if update.reason else ""
    quality = "no frame was used" if snapshot is None else summary.describe(snapshot.frc_limit_m)
    say_where(f"{update.exit_status}{reason}: {quality}", directory, names)
    return summary


def say_where(text: str, directory: Path, names: Iterable[str]) -> None:
    """Print the last line of a command: what came out, and which files hold it."""
    say(f"{text}; {directory}/ holds {', '.join(sorted(names))}")


def await_outcome(live: LivePtycho, timeout_s: float | None = None) -> tuple[Outcome | None, bool]:
    """Wait for the analysis of the last run; tell whether Ctrl-C ended it early, with what it had."""
    try:
        return live.wait(timeout_s), False
    except KeyboardInterrupt:
        say("interrupted: the reconstruction ends with what it has")
        live.hurry()
        return live.wait(timeout_s), True
