"""Reconstruction: pure array code, without bluesky."""

from __future__ import annotations

from .settings import SolverSettings
from .solver import IncrementalSolver

__all__ = ["IncrementalSolver", "SolverSettings"]
