"""Callbacks that choose among epochs, and a budget that comes into force only late in a run."""

import warnings
from typing import Any

import keras
import numpy as np

from tfgates.notices import GatesWarning

# How far above its target an expected cost may be: the multipliers let it swing about the target.
TOLERANCE = 0.05


def holds(model: Any) -> bool:
    """Whether the bounds of a model with a budget are in force, and kept but for 5 %."""
    step = int(keras.ops.convert_to_numpy(model._structure_step))
    pace = np.asarray(keras.ops.convert_to_numpy(model._pace))
    if step < np.max(pace[:, 1] + pace[:, 2]):
        return False
    structure = model._structure
    probabilities = structure.cost.probabilities()
    return all(bound.of(structure.cost, probabilities) <= (1 + TOLERANCE) * bound.target for bound in structure.bounds)


class WithinBudget(keras.callbacks.Callback):
    """Shows a callback only those epochs at whose end the budget of the model holds."""

    def __init__(self, callback: Any) -> None:
        super().__init__()
        self.callback = callback

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self.callback.set_model(model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if holds(self.model):
            self.callback.on_epoch_end(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # A callback that saves at the end of epochs alone has nothing to choose here.
        if getattr(self.callback, "save_freq", "epoch") == "epoch" or holds(self.model):
            self.callback.on_train_batch_end(batch, logs)

    def on_train_begin(self, logs: Any = None) -> None:
        self.callback.on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self.callback.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.callback.on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.callback.on_train_batch_begin(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self.callback.on_test_begin(logs)

    def on_test_end(self, logs: Any = None) -> None:
        self.callback.on_test_end(logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.callback.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.callback.on_test_batch_end(batch, logs)


def chooses(callback: Any) -> bool:
    """Whether a callback stops, restores or saves by a value that it monitors."""
    names = ("save_best_only", "restore_best_weights")
    return isinstance(callback, keras.callbacks.EarlyStopping) or any(getattr(callback, n, False) for n in names)


def within_budget(callbacks: Any) -> Any:
    """`callbacks` of a `fit` under a budget; those that choose among epochs in a `WithinBudget`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        if any(map(chooses, callbacks.callbacks)):
            raise ValueError(
                "`callbacks` must be a list where one of them chooses among epochs, as EarlyStopping does: "
                "it is shown those alone at which the budget holds. Received: a CallbackList"
            )
        return callbacks
    flat = [each for each in keras.tree.flatten(callbacks) if each is not None]
    return [WithinBudget(each) if chooses(each) else each for each in flat]


def warn_if_ended_early(model: Any) -> None:
    """Says that a callback ended the training of a model above its budget."""
    if model.stop_training and not holds(model):
        warnings.warn(
            f"A callback ended the training of `{model.name}` before its budget held: pruning closes at once what "
            "training would have closed step by step, which costs accuracy. Let it train to the end, or give "
            f"`fit` fewer epochs, to which the budget paces itself. Received: budget={model.budget}",
            GatesWarning,
            stacklevel=3,
        )
