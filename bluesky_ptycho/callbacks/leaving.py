"""Reconstructions that are under way when the interpreter ends: they are finished, or what is left of them is told."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING

from ..errors import PtychoError
from ..terminal import announce
from ..words import counted

if TYPE_CHECKING:
    from .live_ptycho import LivePtycho

FINISHING_S = 60.0
"""How long they may take; then they end with what they have."""

ENDING_S = 15.0
"""How long that may take."""


def close_at_exit(live: LivePtycho) -> None:
    """Let `live` be closed when the main thread ends.

    Thread pools, and the server of a catalog in this process, end then too, before anything that is registered with
    :mod:`atexit`. They are told by this private function of :mod:`threading`, the last one that was registered first.
    """
    threading._register_atexit(_leave, weakref.ref(live), os.getpid())  # type: ignore[attr-defined]


def _leave(reference: weakref.ref[LivePtycho], pid: int) -> None:
    live = reference()
    if live is None or os.getpid() != pid:  # a fork's threads, locks and files are its parent's
        return
    under_way = live.under_way
    if under_way:
        what, them = counted(len(under_way), "reconstruction"), "it" if len(under_way) == 1 else "them"
        announce(f"ending {what}, in {FINISHING_S:g} s at most; Ctrl-C ends {them} at once")
    with contextlib.suppress(KeyboardInterrupt, PtychoError):  # what is wrong was told when it happened
        live.close(FINISHING_S)
    if live.under_way:
        with contextlib.suppress(KeyboardInterrupt, PtychoError):
            live.hurry()
            live.close(ENDING_S)
    for uid in under_way:
        outcome = live.outcome(uid)
        if outcome is None or outcome.error is not None:
            announce(f"the reconstruction of run {uid[:8]} is not finished; bluesky-ptycho resume {uid[:8]} goes on")
