"""Compiling what is left as the network was: its loss and metrics, and an optimizer like that of its weights."""

import warnings
from typing import Any

import keras

from tfgates.keras_internals import compile_settings, learning_rate_of, without_schedule
from tfgates.notices import GatesWarning

NOT_COMPILED = "What is left is not compiled"

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
    config = config_of(optimizer)
    if "learning_rate" in config and learning_rate is not None:
        config["learning_rate"] = learning_rate
    return type(optimizer).from_config(config)


def config_of(optimizer: Any) -> dict[str, Any]:
    """The config of an optimizer with its schedule as it is: not every one of a user can be written down."""
    rate = learning_rate_of(optimizer)
    with without_schedule(optimizer):
        config = dict(optimizer.get_config())
    if "learning_rate" in config and callable(rate):
        config["learning_rate"] = rate
    return config


def compile_like(pruned: Any, model: Any) -> None:
    """Compiles with the loss and metrics of `model` and a fresh optimiser of the same settings, or says why not."""
    optimizer = getattr(model, "optimizer", None)
    if not getattr(model, "compiled", False) or optimizer is None:
        return
    try:
        fresh = fresh_optimizer(optimizer)
        if fresh is None:
            raise TypeError(f"{type(optimizer).__name__} is no optimizer of Keras that updates all weights alike")
        with warnings.catch_warnings():
            # What Keras warns of, a lambda among the losses, is refused below.
            warnings.simplefilter("ignore")
            # What is no argument of a plain model's `compile` is of the gates.
            given = {name: value for name, value in compile_settings(model).items() if name in PLAIN_SETTINGS}
            settings = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(given))
        settings["optimizer"] = fresh
        pruned.compile(**settings)
    except Exception as error:
        # Optimizers, losses and metrics may be a user's, and what was trained is not lost by what their configs lack.
        warnings.warn(
            f"{NOT_COMPILED}, since the optimizer, the loss or a metric cannot be made again from its "
            f"config: call `compile` with them anew. Received: {type(error).__name__}: {error}",
            GatesWarning,
            stacklevel=4,
        )
