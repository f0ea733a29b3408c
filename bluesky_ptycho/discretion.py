"""What leaves a machine for a bug report: keys, people and places are left out."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

REMOVED = "(removed)"

SECRET_KEY = re.compile(r"api_?key|token|secret|passw|authori[sz]ation|credential|cookie", re.IGNORECASE)
PERSONAL_KEYS = frozenset(
    [
        "access_blob",
        "cycle",
        "contact",
        "data_session",
        "e_mail",
        "email",
        "experimenters",
        "group",
        "groups",
        "login_id",
        "operator",
        "owner",
        "pi",
        "pi_name",
        "proposal",
        "proposal_id",
        "proposer",
        "sample",
        "sample_name",
        "tiled_access_tags",
        "title",
        "user",
        "user_name",
        "username",
        "users",
    ]
)
"""Keys of documents whose values tell of people or of what they measure."""

_SECRETS = (
    re.compile(
        r"(?i)(api[_-]?key|token|secret|password|authorization)(\"?\s*[=:]\s*\"?)(?:(?:bearer|apikey)\s+)?[^\s&\"',}]+"
    ),
    re.compile(r"(?i)\b(bearer|apikey)(\s+)[\w.~+/=-]{8,}"),
    re.compile(r"(://)([^/@\s:]+:)[^/@\s]+(?=@)"),
)
_LEAST_NAME = 3
"""Letters of a name that is worth leaving out of running text."""


class Discretion:
    """Leaves out of texts and documents what they tell of keys, people and places.

    Parameters
    ----------
    places : iterable of path
        Directories whose names say where things lie: each path below them becomes a number and its last suffix.
    names : iterable of str
        Further words to leave out: names of samples and people.
    """

    def __init__(self, places: Iterable[str | Path] = (), names: Iterable[str] = ()) -> None:
        known = {str(place).rstrip("/") for place in (*places, Path.home(), Path.cwd(), tempfile.gettempdir())} - {""}
        known |= {os.path.realpath(place) for place in known}
        longest_first = sorted((place for place in known if place != "/"), key=len, reverse=True)
        roots = "|".join(map(re.escape, longest_first))
        self._paths = re.compile(rf"(?:file://[\w.-]*)?(?:{roots})(?:/[^\s\"'<>|:,;)\]]*)?")
        words = {getpass.getuser(), socket.gethostname(), socket.gethostname().partition(".")[0], *map(str, names)}
        kept = sorted((word for word in words if len(word) >= _LEAST_NAME), key=len, reverse=True)
        self._words = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, kept))})(?!\w)") if kept else None

    def text(self, text: str) -> str:
        """Return `text` without them."""
        for secret in _SECRETS:
            text = secret.sub(lambda found: f"{found[1]}{found[2]}{REMOVED}", text)
        text = self._paths.sub(lambda found: _alias(found[0]), text)
        return text if self._words is None else self._words.sub(REMOVED, text)

    def document(self, value: Any, key: str = "") -> Any:
        """Return a document, or a part of it under `key`, without them; numbers stay."""
        if SECRET_KEY.search(key) or key.lower() in PERSONAL_KEYS:
            return value if value is None else REMOVED
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.document(inner, str(name)) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.document(inner) for inner in value]
        if isinstance(value, str):
            return _alias(value) if key == "uri" else self.text(value)
        return value


def personal_words(value: Any, key: str = "") -> Iterator[str]:
    """Yield the texts that a document has under personal keys: names of people, proposals and samples."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from personal_words(inner, key if key.lower() in PERSONAL_KEYS else str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from personal_words(inner, key)
    elif isinstance(value, str) and key.lower() in PERSONAL_KEYS:
        yield value


def _alias(path: str) -> str:
    """Return what stands for a path: the same for the same one, with its suffix."""
    number = hashlib.sha256(path.removeprefix("file://").encode()).hexdigest()[:8]
    return f"/path-{number}{Path(path).suffix}"
