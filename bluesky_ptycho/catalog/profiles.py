"""Profiles, by which other processes find a catalog, and the catalog taken by default."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..errors import NotFoundError, PtychoError, SettingsError
from ..spelling import spelled
from . import embedded


def write_profile(name: str, directory: str | Path, target: str | Path) -> Path:
    """Write the tiled profile `name` for the catalog in `directory`.

    Another process opens it with ``databroker.from_profile(name)`` (or tiled's), when `target` is
    among the directories where tiled looks for profiles: set ``TILED_PROFILES`` to its absolute
    path, or give one that ``tiled profile paths`` lists. There ``[-1]`` is the last scan and ``[uid]``
    finds scans and reconstructions alike. Without this package installed it opens as a plain
    container with the children ``raw`` and ``processed``.

    Parameters
    ----------
    name : str
        Name of the profile: letters, digits, "_", "-" and ".".
    directory : path
        Directory of the catalog; it is made if there is none.
    target : path
        Directory that gets ``<name>.yml``; made if missing. Nothing else is written.

    Returns
    -------
    Path
        The file, absolute; its parent is what ``TILED_PROFILES`` wants.

    Raises
    ------
    SettingsError
        If the name cannot be a profile's.
    PtychoError
        If a directory cannot be used.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise SettingsError(f"profile name is {name!r}; expected letters, digits, '_', '-' and '.'")
    place = Path(directory).expanduser().resolve()
    if not embedded.is_catalog(place):
        from .access import open_catalog

        open_catalog(place).close()
    config = embedded.server_config(place, embedded.prepare(place))
    file = Path(target).expanduser().resolve() / f"{name}.yml"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # JSON is YAML too.
        file.write_text(json.dumps({name: {"direct": config}}, indent=2) + "\n")
    except OSError as failed:
        raise PtychoError(f"profile {file} cannot be written: {failed}") from failed
    return file


def is_profile(name: str) -> bool:
    """Tell whether tiled knows the profile `name`."""
    from tiled.profiles import list_profiles

    return name in list_profiles()


def default_target() -> str:
    """Return the catalog to take when none is named.

    It is tiled's default profile (``tiled profile set-default NAME``), else the catalog that the last command
    wrote to.

    Raises
    ------
    NotFoundError
        If there is neither.
    """
    from tiled.profiles import get_default_profile_name

    if profile := get_default_profile_name():
        return profile.strip()
    if remembered := _remembered():
        return remembered
    raise NotFoundError(
        "no catalog was named, and there is no default profile and none that an earlier command wrote to; expected "
        + spelled("catalog=", "--catalog DIR")
    )


def missing_default(name: str) -> str:
    """Say that the catalog taken by default is gone, and whence its name comes: nobody has typed it now."""
    whence = "the catalog last used" if name == _remembered() else "the catalog of tiled's default profile"
    return f"{whence}, {name}, is no longer there; {spelled('catalog=', '--catalog')} names another"


def _remembered() -> str:
    """Return what :func:`remember_catalog` has kept; empty where there is nothing that can be read."""
    try:
        return _state_file().read_text().strip()
    except (OSError, UnicodeError, RuntimeError):
        return ""


def remember_catalog(catalog: str | Path) -> None:
    """Keep `catalog` as the one that commands take where none is named.

    Commands and sessions that a user starts call this if they write into a catalog, once they have found what was
    asked for; whatever only reads one leaves the default as it is. One line is kept, in
    ``bluesky_ptycho/catalog`` under the user's state directory (``XDG_STATE_HOME``); where that cannot be written
    nothing is kept.
    """
    text = _resolved(str(catalog))
    try:
        file = _state_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    except (OSError, UnicodeError, RuntimeError):
        return


def _resolved(catalog: str) -> str:
    """Return the whole path of a directory; of an address or a profile, itself."""
    if not catalog.startswith(("http://", "https://")) and Path(catalog).expanduser().is_dir():
        return str(Path(catalog).expanduser().resolve())
    return catalog


class RememberCatalog:
    """A sink that remembers a catalog once a scan is under way: in a thread of its own, which no scan waits for.

    Parameters
    ----------
    catalog : str or Path
        As for :func:`remember_catalog`.
    """

    def __init__(self, catalog: str | Path) -> None:
        self._catalog = _resolved(str(catalog))  # now: the working directory may be another one later
        self._done = False

    def __call__(self, update: object) -> None:
        """Take an update; the first is enough."""
        if not self._done:
            self._done = True
            remember_catalog(self._catalog)


def state_directory() -> Path:
    """Return the user's state directory of this package (``XDG_STATE_HOME``); a RuntimeError without a home."""
    import platformdirs

    return Path(platformdirs.user_state_dir("bluesky_ptycho"))


def _state_file() -> Path:
    return state_directory() / "catalog"
