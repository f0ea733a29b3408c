"""Algorithms: registered functions, a file for each kind.

A function makes one pass: ``algorithm(state, engine, slots, options) -> error``, where `slots` is
the order in which the frames are visited and the error is the sum of ``(amplitude - |wave|)**2`` over
valid pixels, as the frames were met or, estimated, after the pass. What it must remember lies in
``state.memory``.
"""

from __future__ import annotations

from . import lsqml, ml, pie, projections

__all__ = ["lsqml", "ml", "pie", "projections"]
