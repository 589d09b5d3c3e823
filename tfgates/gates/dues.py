"""What the loss of a training step must contain before a gradient may pass through a gate.

Nothing in a draw itself says that there is a budget to be counted, or that the gradient has to be estimated
from the loss. Both are dues of the draw: a gradient through it fails, by name, until they are settled. Calls
whose gradient nobody takes owe nothing.

Dues belong to a thread: replicas of `tf.distribute` share gates and models and interleave, each in its own.
"""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from tfgates.backend import watched
from tfgates.gates.step import step


class Due:
    """Something that is owed from a draw until the loss of its step contains it.

    Args:
        message: what to do about it, for the error; without "Received: ...".
    """

    def __init__(self, message: str) -> None:
        self.message = message
        self.settled = False


# The models that count the cost of a gate, for draws outside of all of their calls.
_counted_by: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def count(gates: Iterable[Any], model: Any) -> None:
    """Notes that `model` has a budget or a penalty, a part of its loss, that depends on `gates`."""
    for gate in gates:
        _counted_by.setdefault(gate, weakref.WeakSet()).add(model)


def is_owed(model: Any) -> bool:
    """Whether gates were drawn, since the last settlement, whose cost `model` counts."""
    return model in step.owed


def settle(model: Any) -> None:
    """Notes that the loss contains the budget and penalty of `model`."""
    due = step.owed.pop(model, None)
    if due is not None:
        due.settled = True


def dues_of(gate: Any) -> list[Sequence[Due]]:
    """What a draw of `gate` owes: of each member one due has to be settled."""
    counting = _counted_by.get(gate, ())
    calls = [model for model in step.calls if model in counting]
    if calls:
        return [[_due_of(model)] for model in calls]
    # By a model of others that says nothing of cost: as it is meant. By no model: by one made of its layers.
    return [[_due_of(model) for model in counting]] if counting and not step.calls else []


def _due_of(model: Any) -> Due:
    if model not in step.owed:
        step.owed[model] = Due(
            f"Model `{model.name}` has a budget or a penalty, which the loss of this training step does not contain: "
            "its gates would be trained as if there were none. Train it by its own `fit`; in a training step of "
            "your own call `model.compute_loss(x, y, y_pred, training=True)` after all of its calls, or add "
            "`model.structure_loss()` to your loss. A model that contains it needs the budget itself, "
            "`tfgates.GatedModel(inputs, outputs, budget=...)`. For gradients that train nothing call the model "
            "with training=False."
        )
    return step.owed[model]


def guarded(states: Any, gate: Any, dues: Sequence[Sequence[Due]]) -> Any:
    """`states`, whose gradient is an error unless all dues are settled by the time it is asked for."""
    if not dues:
        return states

    def check() -> None:
        for alternatives in dues:
            if not any(due.settled for due in alternatives):
                raise ValueError(
                    f"{alternatives[0].message} Received: a gradient through the draw of the gate `{gate.name}`"
                )

    return watched(states, check)
