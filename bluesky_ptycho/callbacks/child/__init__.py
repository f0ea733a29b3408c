"""The analysis of a run in a process of its own, whose death harms nobody.

The parent (`parent`) starts ``python -m bluesky_ptycho.callbacks.child`` and talks to it (`life`) over an inherited
pair of sockets in messages of JSON and raw arrays (`channel`, `messages`); nothing is pickled and nobody else can
connect.
"""

from __future__ import annotations
