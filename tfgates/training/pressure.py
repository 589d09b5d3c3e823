"""Whether anything asks the gates of a model to close."""

from typing import Any

import keras
import numpy as np

from tfgates.backend import array
from tfgates.gates import Gate
from tfgates.keras_internals import layers_within
from tfgates.notices import warn
from tfgates.training.callback_marks import says

# Who overrides one of them may add a loss of gates that nobody else can see.
OWN_STEPS = ("compute_loss", "train_step")


def asks_to_close(model: Any) -> bool:
    """Whether the model's loss falls when its gates close: a budget, a penalty or a gate's `l0`."""
    if model.budget or any(strength > 0 for strength in (model.penalty or {}).values()):
        return True
    return any(gate.l0 > 0 for gate in trained(model))


def trained(model: Any) -> list[Any]:
    """The gates that are not frozen."""
    return [gate for gate in model.gates if gate.trainable]


def warn_if_nothing_closes(model: Any, callbacks: Any) -> None:
    """Says that training leaves all gates open, or those of frozen layers, where that can be told.

    Args:
        model: the `GatedModel` that is about to be trained.
        callbacks: those of `fit`. One whose attribute `closes_gates` is true closes them itself.
    """
    _warn_of_frozen(model)
    if not trained(model) or asks_to_close(model) or _has_own_step(model):
        return
    closing = [each for each in keras.tree.flatten(callbacks) if says(each, "closes_gates")]
    if closing or hasattr(getattr(model.optimizer, "inner_optimizer", model.optimizer), "scaling"):
        return
    warn(
        f"Nothing asks the gates of `{model.name}` to close, so this training leaves them open and pruning finds "
        "nothing to remove. Give `gate_model` or `GatedModel` a `budget` (such as `tfgates.Budget(macs=0.5)`) or a "
        "`penalty`, give the gates an `l0`, or train scaling gates with `tfgates.callbacks.SparseScaling`. "
        "Received: budget=None, penalty=None, l0=0 in all gates"
    )


def _warn_of_frozen(model: Any) -> None:
    """Says which gates will stay open for being frozen with their layer.

    Those that were frozen alone are meant to be, and those that have closed something were trained before.
    """
    frozen_layers = [layer for layer in layers_within(model, include_self=False) if not layer.trainable]
    gates = [layer.gate for layer in frozen_layers if isinstance(getattr(layer, "gate", None), Gate)]
    # That of a layer that was frozen before it was gated trains.
    frozen = [gate for gate in gates if not gate.trainable and np.all(array(gate.test_gates()) != 0.0)]
    asked = model.budget or any(strength > 0 for strength in (model.penalty or {}).values())
    names = [gate.name for gate in frozen if asked or gate.l0 > 0]
    if names:
        some = f"{', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"
        warn(
            f"{len(names)} of the {len(model.gates)} gates of `{model.name}` are frozen while they are open, so this "
            "training closes nothing there: `trainable = False` on a layer freezes its gate too. Freeze layers before "
            f"`gate_model`, which lets the gates of frozen layers train. Received: frozen gates {some}"
        )


def _has_own_step(model: Any) -> bool:
    """Whether a user's subclass computes its loss itself."""
    for name in OWN_STEPS:
        owner = next(kind for kind in type(model).__mro__ if name in vars(kind))
        if owner.__module__.partition(".")[0] not in ("tfgates", "keras"):
            return True
    return False
