"""The knobs of a running reconstruction, as signals that plans and people turn."""

from __future__ import annotations

import dataclasses
import math
import reprlib
import threading
import typing
from typing import Any

from ophyd import Component, Device, Signal
from ophyd.status import Status

from ..errors import NotFoundError, SettingsError
from ..given import check_name, check_type
from ..keywords import did_you_mean, refuse_unknown
from ..knobs import AnalysisSettings, Commands, Listener, turned
from ..settings import allowed, as_text

_OPHYDS_OWN = ["name", "kind", "labels", "parent", "attr_name", "read_attrs", "configuration_attrs"]
"""Further arguments that a device takes."""

_DTYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def _field_of(setting: str) -> dataclasses.Field[Any]:
    return (AnalysisSettings if "." in setting else Commands).field_of(setting)


class Knob(Signal):
    """A setting of the reconstruction.

    A value that the setting does not take is refused, with what is allowed, before anything changes.

    Parameters
    ----------
    setting : str
        Dotted name in :class:`~bluesky_ptycho.knobs.AnalysisSettings`, or the name of a command.
    """

    def __init__(self, *, setting: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.setting = setting
        field = _field_of(setting)
        unit = field.metadata.get("unit")
        self.__doc__ = " ".join(
            filter(None, (field.metadata["doc"], allowed(field), unit and f"({unit})", f"[{setting}]"))
        )

    def check_value(self, value: Any, **kwargs: Any) -> None:
        """Raise a SettingsError, or a NotFoundError for an algorithm, if the setting does not take `value`."""
        self.parent.check(self.setting, value)

    def put(self, value: Any, **kwargs: Any) -> None:
        """Turn the knob; what listens is told before the value is shown.

        Raises
        ------
        SettingsError, NotFoundError
            If the setting does not take `value`.
        """
        with self.parent.turning:  # of two that turn it at once, both knob and analysis have the same one's value
            self.show(self.parent.turn(self.setting, value), **kwargs)

    def show(self, value: Any, **kwargs: Any) -> None:
        """Show `value`, which somebody else has set."""
        super().put(value, **{**kwargs, "force": True})

    def set(self, value: Any, **kwargs: Any) -> Status:
        """Turn the knob as :meth:`put` does; the status is done at once."""
        self.put(value)
        status = Status(obj=self)
        status.set_finished()
        return status

    def describe(self) -> dict[str, Any]:
        """Describe the value by the setting's type, also where it is None."""
        kind, length = self._dtype()
        key = {"source": self.source_name, "dtype": "array" if length else kind, "shape": [length] if length else []}
        return {self.name: key}

    def read(self) -> dict[str, Any]:
        """Read the value; None, which documents cannot hold, is NaN."""
        value = self.get()
        if value is None:
            _, length = self._dtype()
            value = [math.nan] * length if length else math.nan
        return {self.name: {"value": value, "timestamp": self.timestamp}}

    def _dtype(self) -> tuple[str, int]:
        """Return the data type in a document, and the length of an array or 0; a whole number may be NaN there."""
        hint = _hint_of(self.setting)
        kinds = typing.get_args(hint) or (hint,)
        if any(typing.get_origin(kind) is tuple for kind in kinds):
            return "number", 2
        kind = _DTYPES[kinds[0]]
        return ("number", 0) if kind == "integer" and type(None) in kinds else (kind, 0)


class Momentary(Knob):
    """A knob that does something once and falls back."""

    def put(self, value: Any, **kwargs: Any) -> None:
        """Do it, if `value` is true."""
        with self.parent.turning:
            super().put(value, **kwargs)
            self.show(False)


class NoKnobError(NotFoundError, AttributeError):
    """There is no knob of that name; an AttributeError, so that ``hasattr`` answers."""


def _knob(setting: str, kind: type[Knob] = Knob) -> Any:
    return Component(kind, setting=setting, kind="config", doc=_field_of(setting).metadata["doc"])


class ReconControl(Device):
    """Knobs of the reconstruction: ``recon.beta.put(0.8)`` at the prompt, ``bps.mv(recon.beta, 0.8)`` in a plan.

    ``LivePtycho(control=recon)`` and ``attach(RE, catalog, control=recon)`` obey them, in the scan that runs and in
    those that follow. What a knob means and takes is that of the setting it is named after; ``recon.beta?`` tells.

    Parameters
    ----------
    name : str

    Raises
    ------
    SettingsError
        If the name is none, or a keyword not known.
    """

    algorithm = _knob("solver.algorithm")
    beta = _knob("solver.relaxation")
    step = _knob("solver.step")
    momentum = _knob("solver.momentum")
    object_regularisation = _knob("solver.object_regularisation")
    probe_regularisation = _knob("solver.probe_regularisation")
    probe_start = _knob("solver.probe_start")
    modes = _knob("solver.modes")
    refine_positions = _knob("solver.refine_positions")
    position_model = _knob("solver.position_model")
    position_bound_px = _knob("solver.position_bound_px")
    refine_start = _knob("solver.refine_start")
    photon_threshold = _knob("preprocess.photon_threshold")
    threshold_reach = _knob("preprocess.threshold_reach")
    min_relative_flux = _knob("preprocess.min_relative_flux")
    centre = _knob("preprocess.optical_centre")
    paused = _knob("paused")
    reset = _knob("reset", Momentary)

    _made = False

    def __init__(self, *, name: str = "recon", **kwargs: Any) -> None:
        refuse_unknown("ReconControl", kwargs, _OPHYDS_OWN)
        check_name("ReconControl: name", name, "a name, as 'recon'")
        self._settings = AnalysisSettings()
        self._listeners: list[Listener] = []
        self.turning = threading.RLock()
        super().__init__("", name=name, **kwargs)
        self._show(self._settings)
        for command, value in Commands().to_dict().items():
            getattr(self, command).show(value)
        self._made = True

    def __getattr__(self, name: str) -> Any:
        """Tell which knob may be meant by one that is not there."""
        if name.startswith("_") or "." in name:
            return super().__getattr__(name)
        raise self._no_knob(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse to set a knob without ``put``, and one that is not there, which would turn nothing."""
        if name in self.component_names:
            raise SettingsError(f"{self.name}.{name} is a knob; expected {self.name}.{name}.put({value!r})")
        if self._made and not name.startswith("_") and not hasattr(self, name):
            raise self._no_knob(name)
        super().__setattr__(name, value)

    def _no_knob(self, name: str) -> NoKnobError:
        known = list(self.component_names)
        hint = did_you_mean(name, known)
        told = f"{hint} known" if hint else "known"
        return NoKnobError(f"{self.name} has no knob {reprlib.repr(name)}; {told}: {', '.join(known)}")

    def connect(self, settings: AnalysisSettings, listener: Listener) -> None:
        """Show `settings` on the knobs, and tell `listener` from now on what they are turned to."""
        check_type("settings", settings, AnalysisSettings, "LiveSettings")
        with self.turning:
            self._settings = settings
            self._show(settings)
            self._listeners.append(listener)
            if self.paused.get():
                listener({"paused": True})

    def disconnect(self, listener: Listener) -> None:
        """Tell `listener` no more."""
        with self.turning:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def check(self, setting: str, value: Any) -> None:
        """Raise what is wrong with a value, for the knob that has `setting`."""
        self._turned(setting, _plain(value))

    def turn(self, setting: str, value: Any) -> Any:
        """Tell the listeners of a value, which is returned as the settings hold it.

        Raises
        ------
        SettingsError, NotFoundError
            If it is refused; nothing has changed then.
        """
        value = _plain(value)
        with self.turning:
            settings = self._turned(setting, value)
            for listener in self._listeners:
                listener({setting: value})
            self._settings = settings
        return settings.value_of(setting) if "." in setting else value

    def shown(self) -> list[dict[str, Any]]:
        """Return of each knob, in texts, ``name``, ``value``, ``choices`` (of few), what it ``takes`` and ``doc``."""
        return [self._shown(name, getattr(self, name)) for name in self.component_names]

    def _shown(self, name: str, knob: Knob) -> dict[str, Any]:
        field, hint = _field_of(knob.setting), _hint_of(knob.setting)
        choices = field.metadata["choices"] or ((True, False) if hint is bool else ())
        numbers = " ".join(filter(None, (allowed(field), field.metadata["unit"])))
        takes = " or ".join(filter(None, (numbers, "none" if type(None) in typing.get_args(hint) else "")))
        value, texts = as_text(knob.get()), [as_text(choice) for choice in choices]
        return {"name": name, "value": value, "choices": texts, "takes": takes, "doc": field.metadata["doc"]}

    def put_text(self, knob: str, text: str) -> None:
        """Turn a knob to what somebody typed: a number, "none", "true", numbers with commas between them, a name.

        Raises
        ------
        SettingsError, NotFoundError
            If there is no such knob, or its setting does not take the value; nothing has changed then.
        """
        if knob not in self.component_names:
            raise self._no_knob(knob)
        turned_knob = getattr(self, knob)
        owner = AnalysisSettings if "." in turned_knob.setting else Commands
        turned_knob.put(owner.read_changes([f"{turned_knob.setting}={text}"])[turned_knob.setting])

    def _turned(self, setting: str, value: Any) -> AnalysisSettings:
        try:
            return turned(self._settings, {setting: value})
        except (SettingsError, NotFoundError) as error:
            knob = next(k for k in self.component_names if getattr(self, k).setting == setting)
            _, found, rest = str(error).partition(f"{setting} is ")
            told = f"{self.name}.{knob} is {rest}" if found else f"{self.name}.{knob}: {error}"
            raise type(error)(told) from None

    def _show(self, settings: AnalysisSettings) -> None:
        for name in self.component_names:
            knob = getattr(self, name)
            if "." in knob.setting:
                knob.show(settings.value_of(knob.setting))


def knob_settings() -> dict[str, str]:
    """Return the dotted names of the settings that knobs turn, by the knobs' names."""
    found = {name: getattr(ReconControl, name).kwargs["setting"] for name in ReconControl.component_names}
    return {name: setting for name, setting in found.items() if "." in setting}


def knob_aliases() -> dict[str, str]:
    """Return the dotted names of the settings that knobs turn, by the names ``"recon.KNOB"`` that ``--set`` takes."""
    return {f"recon.{knob}": setting for knob, setting in knob_settings().items()}


def _hint_of(setting: str) -> Any:
    part, _, inner = setting.rpartition(".")
    owner = typing.get_type_hints(AnalysisSettings)[part] if part else Commands
    return typing.get_type_hints(owner)[inner]


def _plain(value: Any) -> Any:
    """Return what NumPy or a tuple holds as JSON can."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, tuple) else value
