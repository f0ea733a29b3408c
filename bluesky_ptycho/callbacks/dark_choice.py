"""Which darks a run is corrected with: its own, those that its plan names, or the nearest earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import MetadataError
from ..preprocess import misfit
from ..scan_plan import ScanPlan
from .dark_store import Darks, DarkStore


@dataclass(frozen=True)
class DarkChoice:
    """The darks of a run.

    Parameters
    ----------
    darks : tuple of DarkModel or None
    uid : str or None
        Run that they were taken in.
    fitting : bool
        Whether they are young enough and of the right shape, gain and exposures; unfit ones are not used at all,
        old ones are, as they are better than none, but the result does not count as corrected.
    objections : tuple of str
        What is wrong with the darks that were there, or with there being none.
    consequence : str
        What is done about it.
    """

    darks: Darks | None
    uid: str | None
    fitting: bool
    objections: tuple[str, ...] = ()
    consequence: str = ""

    @property
    def message(self) -> str:
        """What the user must know, in one line; empty where all is well."""
        return "; ".join([*self.objections, *([self.consequence] if self.consequence else [])])


def choose_darks(
    start: Mapping[str, Any], plan: ScanPlan, own: Darks | None, store: DarkStore, gain: int, *, needed: bool
) -> DarkChoice:
    """Choose darks when the first measured frame is there.

    Ages count up to the beginning of the run, so that a replay chooses as the live run did.

    Parameters
    ----------
    start : mapping
        Start document.
    plan : ScanPlan
    own : tuple of DarkModel or None
        Those of the run's own dark stream.
    store : DarkStore
        Knows those of other runs.
    gain : int
        As :func:`~bluesky_ptycho.preprocess.misfit` takes it.
    needed : bool
        Whether frames mean little without darks; only then others than the plan's are looked for.
    """
    said: list[str] = []
    if own is not None:
        problem = _problem(own, plan, gain)
        if problem is None:
            return DarkChoice(own, start["uid"], fitting=True)
        said.append(f"the run's own darks do not fit: {problem}")
    old: DarkChoice | None = None
    if plan.dark_uid:
        named = _named(plan, store, gain, said)
        age_s = _age_s(named, start)
        if named is not None and age_s <= plan.max_dark_age_s:
            return DarkChoice(
                named, plan.dark_uid, True, tuple(said), f"taking those of run {plan.dark_uid}" if said else ""
            )
        if named is not None:
            said.append(
                f"darks of run {plan.dark_uid} are {age_s / 60:.0f} min old; expected at most "
                f"{plan.max_dark_age_s / 60:.0f} min"
            )
            old = DarkChoice(named, plan.dark_uid, fitting=False)
    elif own is None and needed:
        said.append("the run has no darks")
    if needed and (found := _nearest(start, plan, store, gain, said)) is not None:
        uid, darks = found
        taken = f"taking those of run {uid}, {_age_s(darks, start) / 60:.0f} min older"
        return DarkChoice(darks, uid, True, tuple(said), taken)
    if old is not None:
        used = "taking them, but the result does not count as dark-corrected"
        return DarkChoice(old.darks, old.uid, False, tuple(said), used)
    return DarkChoice(None, None, False, tuple(said), "going on without dark correction" if said else "")


def refuse_unfit(choice: DarkChoice) -> None:
    """Raise MetadataError, as ``strict_darks`` wants it, where the darks do not fit."""
    if not choice.fitting:
        raise MetadataError(f"strict_darks: {'; '.join(choice.objections) or 'there are no darks'}")


def _problem(darks: Darks, plan: ScanPlan, gain: int) -> str | None:
    assert plan.detector is not None
    return misfit(darks, plan.detector.shape, plan.exposures_s, gain)


def _named(plan: ScanPlan, store: DarkStore, gain: int, said: list[str]) -> Darks | None:
    """Return the darks of the run that the plan names if they fit."""
    assert plan.dark_uid is not None
    try:
        darks = store.get(plan.dark_uid)
        problem = "were not found" if darks is None else _problem(darks, plan, gain)
    except Exception as error:  # catalog or file out of reach: frames without darks are better than none
        darks, problem = None, f"cannot be read ({error})"
    if problem is not None:
        said.append(f"darks of run {plan.dark_uid} {problem if darks is None else f'do not fit: {problem}'}")
        return None
    return darks


def _nearest(
    start: Mapping[str, Any], plan: ScanPlan, store: DarkStore, gain: int, said: list[str]
) -> tuple[str, Darks] | None:
    try:
        found = store.nearest(plan, float(start["time"]))
    except Exception as error:
        said.append(f"others cannot be looked for ({error})")
        return None
    return None if found is None or _problem(found[1], plan, gain) is not None else found


def _age_s(darks: Darks | None, start: Mapping[str, Any]) -> float:
    """Return how long before the run they were taken; 0 where they do not tell."""
    times = [dark.time_s for dark in darks or () if dark.time_s is not None]
    return max(float(start["time"]) - min(times), 0.0) if times else 0.0
