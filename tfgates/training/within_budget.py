"""Callbacks that go by what they monitor, and a budget that comes into force only late in a run."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfgates.notices import warn
from tfgates.training.callback_checks import flat
from tfgates.training.callback_marks import PausingCallback
from tfgates.training.wrapped import Wrapped

# How far above its target an expected cost may be: the multipliers let it swing about the target.
TOLERANCE = 0.05


def holds(model: Any) -> bool:
    """Whether the bounds of a model with a budget are in force, and kept but for 5 %."""
    if steps_of_budget(model) < steps_to_force(model):
        return False
    structure = model._structure
    probabilities = structure.cost.probabilities()
    return all(bound.of(structure.cost, probabilities) <= (1 + TOLERANCE) * bound.target for bound in structure.bounds)


def steps_of_budget(model: Any) -> int:
    """How many steps a model has been trained under its budget."""
    return int(keras.ops.convert_to_numpy(model._structure_step))


def steps_to_force(model: Any) -> float:
    """How many steps it takes until the bounds are in force: the longest warm-up and ramp."""
    pace = np.asarray(keras.ops.convert_to_numpy(model._pace))
    return float(np.max(pace[:, 1] + pace[:, 2]))


class WithinBudget(Wrapped):
    """Shows a callback only those epochs at whose end the budget of the model holds."""

    def __init__(self, callback: Any) -> None:
        super().__init__(callback)
        self.epochs_shown = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if holds(self.model):
            self.epochs_shown += 1
            self.callback.on_epoch_end(epoch, logs)
        elif logs is not None and lowers_learning_rate(self.callback):
            # It would have logged that; loggers count on the same names in each epoch.
            logs.update(learning_rates(self.model.optimizer))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # A callback that saves at the end of epochs alone has nothing to choose here.
        if getattr(self.callback, "save_freq", "epoch") == "epoch" or holds(self.model):
            self.callback.on_train_batch_end(batch, logs)


class LastEpoch(keras.callbacks.Callback):
    """Notes how far a model with a budget had come when an epoch ended, which no other callback can change."""

    steps = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.steps = steps_of_budget(self.model)


def keeps_weights(callback: Any) -> bool:
    """Whether a callback saves or restores the weights of the epochs that it finds best."""
    return any(getattr(callback, name, False) for name in ("save_best_only", "restore_best_weights"))


def lowers_learning_rate(callback: Any) -> bool:
    """Whether a callback of Keras lowers the learning rate by what it monitors."""
    return isinstance(callback, keras.callbacks.ReduceLROnPlateau)


def chooses(callback: Any) -> bool:
    """Whether a callback stops, restores, saves or slows down by a value that it monitors."""
    return (
        isinstance(callback, keras.callbacks.EarlyStopping) or keeps_weights(callback) or lowers_learning_rate(callback)
    )


def learning_rates(optimizer: Any) -> dict[str, float]:
    """What callbacks of Keras log of an optimizer."""
    inner = getattr(optimizer, "optimizers", None)
    named = {"learning_rate": optimizer} if inner is None else {f"learning_rate_{each.name}": each for each in inner}
    return {name: float(keras.ops.convert_to_numpy(each.learning_rate)) for name, each in named.items()}


def within_budget(callbacks: Any) -> Any:
    """`callbacks` of a `fit` under a budget; those that go by what they monitor in a `WithinBudget`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        if any(map(chooses, callbacks.callbacks)):
            raise ValueError(
                "`callbacks` must be a list where one of them goes by what it monitors, as EarlyStopping does: "
                "it is shown those epochs alone at which the budget holds. Received: a CallbackList"
            )
        return callbacks
    flat = [each for each in keras.tree.flatten(callbacks) if each is not None]
    return [*(WithinBudget(each) if chooses(each) else each for each in flat), LastEpoch()]


def check_comes_into_force(model: Any, callbacks: Any, steps: Callable[[], int | None]) -> None:
    """Refuses callbacks that choose weights where a `fit` ends before the budget is in force.

    Args:
        model: the model with a budget, its pace set.
        callbacks: what `fit` takes.
        steps: function that returns the number of steps of the `fit`, or None if it cannot be told.
    """
    names = " and ".join(sorted({type(each).__name__ for each in flat(callbacks) if keeps_weights(each)}))
    known = steps() if names else None
    if known is not None and steps_of_budget(model) + known < steps_to_force(model):
        raise ValueError(
            f"`callbacks` would have no epoch to choose: {names} is shown those alone at which the budget holds, and "
            f"this `fit` ends after {steps_of_budget(model) + known} steps, where warm-up and ramp take "
            f"{steps_to_force(model):.0f}. Train for more epochs, leave `warm_up` and `ramp` of the Budget at 'auto', "
            f"or leave out the callback. Received: {names}, budget={model.budget}"
        )


def warn_if_above(model: Any, callbacks: Any) -> None:
    """Says what callbacks have made of a training that ends above its budget.

    Args:
        model: the model after its `fit`.
        callbacks: what `within_budget` returned for that `fit`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = []
    if any(isinstance(each, PausingCallback) and each.paused for each in callbacks):
        return
    above = not holds(model)
    steps = max([each.steps for each in callbacks if isinstance(each, LastEpoch)], default=0)
    if above and model.stop_training:
        warn(
            f"A callback ended the training of `{model.name}` before its budget held: pruning closes at once what "
            "training would have closed step by step, which costs accuracy. Let it train to the end, or give "
            f"`fit` fewer epochs, to which the budget paces itself. Received: budget={model.budget}"
        )
    elif above and steps_of_budget(model) < steps:
        warn(
            f"A callback has set `{model.name}` back to weights of an epoch before its budget held: pruning closes at "
            "once what training had closed step by step, which costs accuracy. Restore by "
            "`keras.callbacks.EarlyStopping(restore_best_weights=True)`, which is shown the epochs alone at which the "
            f"budget holds. Received: budget={model.budget}"
        )
    wrapped = [each for each in callbacks if isinstance(each, WithinBudget)]
    # One that went on after an interruption may remember epochs of an earlier process.
    blind = [each for each in wrapped if not each.epochs_shown and getattr(each.callback, "best", None) is None]
    names = sorted({type(each.callback).__name__ for each in blind if keeps_weights(each.callback)})
    if names and steps:
        warn(
            f"The budget of `{model.name}` held at the end of no epoch, so {' and '.join(names)} had none to choose: "
            "no weights were saved or restored. Train for more epochs; the budget paces itself to those of the first "
            f"`fit`, and is in force after its warm-up and ramp. Received: budget={model.budget}"
        )
