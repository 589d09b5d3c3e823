"""Compiling what is left as the network was: its loss and metrics, and an optimizer like that of its weights."""

import warnings
from typing import Any

import keras

from tfgates.keras_internals import learning_rate_of

# Of `keras.Model.compile`.
PLAIN_SETTINGS = (
    "loss",
    "loss_weights",
    "metrics",
    "weighted_metrics",
    "run_eagerly",
    "steps_per_execution",
    "jit_compile",
)


def fresh_optimizer(optimizer: Any) -> Any:
    """An optimizer without slots of the kind and settings of the one of the weights, or None where it is not one."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = fresh_optimizer(optimizer.inner_optimizer)
        return inner and keras.optimizers.LossScaleOptimizer(
            inner, initial_scale=optimizer.initial_scale, dynamic_growth_steps=optimizer.dynamic_growth_steps
        )
    optimizer = getattr(optimizer, "weights_optimizer", optimizer)
    # What is saved with an optimizer of tfgates would need tfgates to load.
    ours = type(optimizer).__module__.partition(".")[0] == "tfgates"
    if ours or isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return None
    return copy_of(optimizer)


def copy_of(optimizer: Any, learning_rate: Any = None) -> Any:
    """A new optimizer of the same settings, with another learning rate if one is given."""
    if learning_rate is None:
        # In a config a schedule is written down, which not every function of a user can be.
        learning_rate = learning_rate_of(optimizer)
    with warnings.catch_warnings():
        # Keras warns of a lambda that is written down.
        warnings.simplefilter("ignore")
        config = optimizer.get_config()
    if "learning_rate" in config and (callable(learning_rate) or isinstance(learning_rate, (int, float))):
        config["learning_rate"] = learning_rate
    return type(optimizer).from_config(config)


def compile_like(pruned: Any, model: Any) -> None:
    """Compiles with the loss and metrics of `model` and a fresh optimiser of the same settings."""
    optimizer = getattr(model, "optimizer", None)
    if not getattr(model, "compiled", False) or optimizer is None:
        return
    fresh = fresh_optimizer(optimizer)
    if fresh is None:
        return
    try:
        with warnings.catch_warnings():
            # What Keras warns of, a lambda among the losses, is refused below.
            warnings.simplefilter("ignore")
            config = model.get_compile_config()
        # What is no argument of a plain model's `compile` is of the gates.
        config = {name: value for name, value in config.items() if name in PLAIN_SETTINGS}
        settings = keras.saving.deserialize_keras_object(config)
        settings["optimizer"] = fresh
        pruned.compile(**settings)
    except (TypeError, ValueError, AttributeError):
        # A loss or metric that cannot be written down can only be given again by the user.
        return
