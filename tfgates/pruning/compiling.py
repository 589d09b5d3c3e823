"""Compiling what is left as the network was: its loss and metrics, and an optimizer like that of its weights."""

import contextlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras

from tfgates.graph.slices import Heir
from tfgates.keras_internals import (
    carry_undecayed,
    carry_undecayed_names,
    compile_settings,
    function_of_metric,
    learning_rate_of,
    undecayed,
    without_schedule,
)
from tfgates.notices import warn
from tfgates.optimizers.gated_optimizer import of_weights

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
    kind = type(optimizer)
    if learning_rate is None and not kind.__module__.startswith(("keras.", "tfgates.")):
        # A class of somebody's own may make something else of the rate, and says in its config what.
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _with_exclusions(kind.from_config(optimizer.get_config()), optimizer)
    config = config_of(optimizer)
    # In a config a schedule is written down, which not every function or class of a user can be.
    rate = learning_rate_of(optimizer) if learning_rate is None else learning_rate
    if callable(rate) or isinstance(rate, (int, float)):
        if "learning_rate" not in config:
            raise TypeError(f"{kind.__name__} has no `learning_rate` in its config")
        config["learning_rate"] = rate
    return _with_exclusions(kind.from_config(config), optimizer)


def config_of(optimizer: Any) -> dict[str, Any]:
    """The config of an optimizer, with any number as its rate where this is a schedule that cannot be written down."""
    with warnings.catch_warnings():
        # Keras warns of a lambda that is written down.
        warnings.simplefilter("ignore")
        try:
            return dict(optimizer.get_config())
        except Exception:
            with without_schedule(optimizer):
                return dict(optimizer.get_config())


def _with_exclusions(new: Any, optimizer: Any) -> Any:
    carry_undecayed_names(new, optimizer)
    return new


def compile_like(pruned: Any, model: Any, heirs: Callable[[], Iterable[Heir]] | None = None) -> None:
    """Compiles with the loss and metrics of `model` and a fresh optimiser of the same settings, or says why not.

    Args:
        pruned: the model that is left.
        model: the one before.
        heirs: function that says for each variable of `pruned` which one of `model` it comes from. None: nobody knows.
    """
    optimizer = getattr(model, "optimizer", None)
    if not getattr(model, "compiled", False) or optimizer is None:
        return
    try:
        fresh = fresh_optimizer(optimizer)
        if fresh is None:
            kind = type(getattr(optimizer, "weights_optimizer", optimizer)).__name__
            raise TypeError(f"{kind} is no optimizer of Keras that updates all weights alike")
        if undecayed(of_weights(optimizer)):
            _carry_undecayed(fresh, optimizer, heirs)
        # What is no argument of a plain model's `compile` is of the gates.
        settings = {name: value for name, value in compile_settings(model).items() if name in PLAIN_SETTINGS}
        for name in ("metrics", "weighted_metrics"):
            settings[name] = keras.tree.map_structure(_own_metric, settings.get(name))
        # Keras has put a loss scale around the optimizer where there is to be one.
        pruned.compile(**settings, optimizer=fresh, auto_scale_loss=False)
    except Exception as error:
        # Optimizers and metrics may be a user's, and what was trained is not lost by what their configs lack.
        warn(
            f"{NOT_COMPILED}, since the optimizer or a metric cannot be made again: call `compile` with them anew. "
            f"Received: {type(error).__name__}: {error}"
        )


def _carry_undecayed(fresh: Any, optimizer: Any, heirs: Callable[[], Iterable[Heir]] | None) -> None:
    if heirs is None:
        raise TypeError(
            "`exclude_from_weight_decay(var_list=...)` names variables, of which there are others now; `var_names` "
            "would come along"
        )
    pairs = [(each.variable, each.source.variable) for each in heirs() if each.source is not None]
    carry_undecayed(of_weights(fresh), of_weights(optimizer), pairs)


def _own_metric(given: Any) -> Any:
    """A metric of the same settings, which does not share what it gathers; all else as it is."""
    if not isinstance(given, keras.metrics.Metric):
        return given
    with warnings.catch_warnings():
        # Keras warns of a lambda that is written down.
        warnings.simplefilter("ignore")
        config = given.get_config()
        if type(given) is keras.metrics.MeanMetricWrapper:
            # By its name another function may be found, one of Keras's.
            return type(given)(**{**config, "fn": function_of_metric(given)})
        return type(given).from_config(config)
