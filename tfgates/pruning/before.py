"""What a network had before it shrank in the midst of its training, for the reports of what is pruned at the end."""

import dataclasses
import weakref
from typing import Any

import keras

# Beside the models, as their reports.
_BEFORE: "weakref.WeakKeyDictionary[keras.Model, list[Any]]" = weakref.WeakKeyDictionary()


def remember_before(small: keras.Model, plan: Any) -> None:
    """Keeps for a network that has shrunk the rows of the one that its training began with.

    Args:
        small: the smaller network.
        plan: the plan by which it was made.
    """
    _BEFORE[small] = _BEFORE.get(plan.model) or [dataclasses.replace(row) for row in plan.layers]


def against_before(model: keras.Model, rows: list[Any]) -> list[Any]:
    """`rows` of a plan, with what the network had before it shrank in place of what it has; what went is among them."""
    before, left = _BEFORE.get(model), list(rows)
    if before is None:
        return rows
    found = []
    for old in before:
        now = next((row for row in left if row.name == old.name), None)
        if now is None:
            left_of = dict.fromkeys(old.dense, 0.0)
            found.append(dataclasses.replace(old, units_left=0, left=left_of, note="went in training", call=-1))
            continue
        left.remove(now)
        found.append(dataclasses.replace(now, units=old.units, dense=old.dense))
    return [*found, *left]
