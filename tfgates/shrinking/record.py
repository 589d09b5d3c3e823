"""What a network that shrinks writes down beside its weights, so that an interrupted training finds the way back."""

import json
import weakref
from typing import Any

import keras
import numpy as np

from tfgates.gates import gates_of
from tfgates.shrinking.plan import ShrinkingPlan
from tfgates.shrinking.shrink import plan_shrinking, shrunk

# What watches a model in the midst of a training.
_WATCHED: "weakref.WeakKeyDictionary[keras.Model, Any]" = weakref.WeakKeyDictionary()


class KeepsRecords:
    """Mixed into a callback that writes the state of a training into files, with `record_of` its model in them."""

    def saved_record(self, model: Any) -> str:
        """The record in the last file for the training of a model, empty without one."""
        raise NotImplementedError(f"{type(self).__name__} must override `saved_record`.")


def watched_by(model: keras.Model, watch: Any) -> None:
    """Notes which `Watch` follows a model."""
    _WATCHED[model] = watch


def record_of(model: Any) -> str:
    """For a file with the state of a training: what has gone, and what is to go next; empty where nothing shrinks."""
    watch, removals = _WATCHED.get(model), getattr(model, "removals", [])
    if watch is None and not removals:
        return ""
    return json.dumps({"removals": removals, "watch": None if watch is None else watch.state})


def replayed(model: Any, record: str, watch: Any) -> Any:
    """The model with what a record says has gone removed; `watch` remembers what it did then.

    Its weights are those of `model`: they are to be restored.
    """
    noted = renamed(json.loads(record), [gate.name for gate in gates_of(model)])
    if noted["watch"] is not None:
        watch.state = noted["watch"]
    for removal in noted["removals"][len(model.removals) :]:
        gone = {name: each["gone"] for name, each in removal["gates"].items()}
        model, _ = shrunk(plan_of(model, gone))
        model.removals[-1] = removal
    return model


def renamed(noted: dict[str, Any], now: list[str]) -> dict[str, Any]:
    """A record with the names that gates have now: Keras numbers layers anew for each model of a process."""
    watch = noted["watch"]
    before = [] if watch is None else watch.get("gates", [])
    if len(before) != len(now) or before == now:
        return noted
    names = dict(zip(before, now, strict=True))

    def named(each: Any) -> Any:
        return each and {names.get(name, name): value for name, value in each.items()}

    removals = [{**each, "gates": named(each["gates"])} for each in noted["removals"]]
    watch = {**watch, "gates": now, "streaks": named(watch["streaks"]), "pending": named(watch["pending"])}
    return {**noted, "removals": removals, "watch": watch}


def plan_of(model: Any, gone: dict[str, list[int]]) -> ShrinkingPlan:
    """The plan that removes units by the names of their gates and their numbers."""
    units = {}
    for gate in gates_of(model):
        if gate.name in gone:
            units[gate] = np.isin(np.arange(gate.units), gone[gate.name])
    return plan_shrinking(model, units)
