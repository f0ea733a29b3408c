"""Settings from a file, TOML or JSON, in the form that results record them in."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFoundError, SettingsError
from .arguments import LineParser, file_name

if TYPE_CHECKING:
    from ..callbacks import LiveSettings
    from ..scan_plan import ScanPlan

LARGEST = 10 * 2**20
"""Bytes; a file with more holds no settings."""


def add_settings(parser: LineParser | argparse._MutuallyExclusiveGroup, part: str = "") -> None:
    """Add ``--settings FILE``, of which a command may need a part alone."""
    meaning = f"its table [{part}] counts here" if part else "tables [preprocess] and [solver] in it"
    parser.add_argument(
        "--settings",
        type=file_name,
        metavar="FILE",
        help=f"TOML or JSON file of settings, {meaning}; what it does not name keeps its default",
    )


def settings_of(options: argparse.Namespace) -> LiveSettings | None:
    """Return the settings of ``--settings``, None where there is none.

    Raises
    ------
    NotFoundError, SettingsError
        As :func:`read_settings_file` does.
    """
    return None if options.settings is None else read_settings_file(options.settings)


def read_settings_file(path: Path | str) -> LiveSettings:
    """Return the settings that a file holds, in the form of a result's start document.

    Raises
    ------
    NotFoundError
        If there is no such file.
    SettingsError
        If it is neither TOML nor JSON, or names or holds what settings refuse.
    """
    from ..callbacks import LiveSettings

    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"settings file {path} {'is no file' if path.exists() else 'does not exist'}")
    try:
        return LiveSettings.from_mapping(_parsed(path))
    except (SettingsError, NotFoundError) as error:  # an algorithm or a step may be unknown
        raise SettingsError(f"settings file {path}: {error}") from error


def check_fit(options: argparse.Namespace, settings: LiveSettings, plan: ScanPlan) -> None:
    """Refuse images of other shapes than a scan's frames; where ``--settings`` names them, its file is told too.

    Raises
    ------
    SettingsError, MetadataError
        As :func:`~bluesky_ptycho.preprocess.check_images` does.
    """
    from ..preprocess import check_images

    try:
        check_images(plan, settings.preprocess)
    except SettingsError as error:
        if options.settings is None:
            raise
        raise SettingsError(f"settings file {options.settings}: {error}") from error


def _parsed(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > LARGEST:
        raise SettingsError(f"it has {path.stat().st_size} bytes; expected {LARGEST} at most")
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError("it is no text file; expected TOML or JSON") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"it cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"it holds a {type(values).__name__}; expected names and values")
    return values
