"""Object error against passes and time, the same for every program."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

CHECKPOINTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 80, 100, 150, 200)
"""Passes after which the error is looked at, besides those that were asked for."""

TARGETS = {
    "small": (0.10, 0.09, 0.085, 0.08, 0.075, 0.07, 0.0673),
    "big": (0.15, 0.13, 0.10, 0.08, 0.07, 0.06, 0.055),
}
"""Errors to which the time is told, for each workload."""


@dataclass
class Convergence:
    """Error, wall seconds and CPU seconds (of all threads) of the passes alone, by the number of passes."""

    errors: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    cpu_seconds: dict[int, float] = field(default_factory=dict)

    def note(self, passes: int, error: float, seconds: float, cpu_seconds: float) -> None:
        """Enter a checkpoint."""
        self.errors[passes], self.seconds[passes], self.cpu_seconds[passes] = error, seconds, cpu_seconds

    def figures(self, iterations: Iterable[int], targets: Iterable[float]) -> dict[str, Any]:
        """Return what the JSON says: at `iterations`, and the first checkpoint at each target or below."""
        wanted = [n for n in sorted(iterations) if n in self.errors]
        reached = {target: self._first_below(target) for target in targets}
        return {
            "object_nrmse": {str(n): finite(self.errors[n]) for n in wanted},
            "seconds": {str(n): self.seconds[n] for n in wanted},
            "cpu_seconds": {str(n): self.cpu_seconds[n] for n in wanted},
            "passes_to_error": {str(target): n for target, n in reached.items()},
            "seconds_to_error": {str(t): None if n is None else self.seconds[n] for t, n in reached.items()},
            "cpu_seconds_to_error": {str(t): None if n is None else self.cpu_seconds[n] for t, n in reached.items()},
        }

    def _first_below(self, target: float) -> int | None:
        return min((n for n, error in self.errors.items() if error <= target), default=None)


def checkpoints(iterations: Iterable[int]) -> list[int]:
    """Return where to look at the error on the way to the last of `iterations`."""
    wanted = set(iterations)
    return sorted(wanted | {n for n in CHECKPOINTS if n <= max(wanted, default=0)})


def follow(
    step: Callable[[int], Any], error: Callable[[], float], stops: Iterable[int], told: Callable[[int], Any]
) -> Convergence:
    """Call ``step(n)`` from stop to stop, ``error()`` at each, and ``told(passes)`` for the progress bar."""
    found, done, seconds, cpu = Convergence(), 0, 0.0, 0.0
    for stop in stops:
        began, cpu_began = time.perf_counter(), time.process_time()
        step(stop - done)
        seconds += time.perf_counter() - began
        cpu += time.process_time() - cpu_began
        done = stop
        found.note(stop, error(), seconds, cpu)
        told(stop)
    return found


@dataclass(frozen=True)
class Speed:
    """Times of single passes over `frames` frames, in s, and of the floor beside each, in ms a frame."""

    frames: int
    passes: list[float]
    floors: list[float]

    def figures(self, floor_ms: float) -> dict[str, Any]:
        """Return ms a frame, and its ratios to the floor beside it and to the run's best floor.

        The speed of a shared machine drifts by a third within minutes, so that a pass is compared with the floor of
        the same seconds. The run's best floor, of some luckier moment, stands in the stricter ratio.
        """
        each = [1e3 * seconds / self.frames for seconds in self.passes]
        pairs = [ms / floor for ms, floor in zip(each, self.floors, strict=True)]
        return {
            "ms_per_frame": min(each),
            "ms_per_frame_median": statistics.median(each),
            "ratio_to_floor": statistics.median(pairs),
            "ratio_to_best_floor": min(each) / floor_ms,
        }


def time_passes(
    step: Callable[[int], Any], frames: int, repeats: int, floor: Callable[[], float], told: Callable[[], Any]
) -> Speed:
    """Time single passes, each between two measurements of the floor, so that a busy moment harms both."""
    passes, floors = [], [floor()]
    for _ in range(repeats):
        began = time.perf_counter()
        step(1)
        passes.append(time.perf_counter() - began)
        floors.append(floor())
        told()
    return Speed(frames, passes, [sum(pair) / 2 for pair in pairwise(floors)])


def finite(value: float) -> float | None:
    """Return `value` as JSON can hold it: None for NaN and infinity."""
    return value if math.isfinite(value) else None
