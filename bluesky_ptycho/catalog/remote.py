"""Catalogs that are somewhere else: connecting, and asking whether they are there."""

from __future__ import annotations

import re
from typing import Any

from ..errors import PtychoError

CONNECT_TIMEOUT_S = 10.0
"""Patience with a server that does not answer."""

ANSWER_TIMEOUT_S = 3.0
"""The same when a run begins, which waits for it."""


def connect(text: str, *, uri: bool) -> Any:
    """Return the client of a server's address, or of a profile.

    Raises
    ------
    PtychoError
        If it cannot be opened.
    """
    import httpx
    from tiled.client import from_profile, from_uri

    try:
        if uri:
            # tiled's own client tries for half a minute before it says that nobody is there.
            httpx.head(text, timeout=CONNECT_TIMEOUT_S)
        return from_uri(text) if uri else from_profile(text)
    except Exception as failed:
        what = "tiled server" if uri else "profile"
        shown = text.partition("?")[0]
        reason = without_keys(" ".join(str(failed).split())) or type(failed).__name__
        raise PtychoError(f"{what} {shown!r} cannot be opened: {reason}") from failed


def without_keys(text: str) -> str:
    """Return `text` with the keys in its addresses blotted out."""
    return re.sub(r"(api_key=)[^&\s'\"]+", r"\1***", text)


def require_answer(client: Any) -> None:
    """Refuse a server that does not answer, or only that it failed: tiled's client would try for most of a minute.

    Raises
    ------
    httpx.HTTPError
        If there is no answer, or status 500 or above.
    """
    import httpx

    if hasattr(client.context.http_client, "app"):  # it is in this process
        return
    response = httpx.head(str(client.context.api_uri), timeout=ANSWER_TIMEOUT_S)
    if response.is_server_error:
        response.raise_for_status()
