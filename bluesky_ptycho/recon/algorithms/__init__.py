"""Algorithms: one file and one registered function each.

A function makes one pass: ``algorithm(state, engine, slots, options) -> error``, where `slots` is
the order in which the frames are visited and the error is the sum of (amplitude - |wave|)**2 over
valid pixels, as the frames were met or, estimated, after the pass. What it must remember lies in
``state.memory``.
"""

from __future__ import annotations

from . import raar, rpie

__all__ = ["raar", "rpie"]
