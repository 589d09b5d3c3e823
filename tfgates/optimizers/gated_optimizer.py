"""One optimizer for the weights and one for the gates, with the learning rate of the weights."""

from typing import Any

import keras

from tfgates.keras_internals import routes_of

# Of an OptimizerMap of weights and gates: the entry of the gates.
GATES = "gates"


def is_gate_variable(variable: Any) -> bool:
    """Whether a variable decides which units are open: a gate's own, or of a `GateGenerator`.

    Whoever creates one says so on the variable; names would not do, since layers of Keras have
    weights called `scale` too.
    """
    return getattr(variable, "belongs_to_gate", False)


@keras.saving.register_keras_serializable(package="tfgates")
class GateOptimizerMap(keras.optimizers.OptimizerMap):
    """Sends the variables of gates to the entry `"gates"`, all others to the default optimizer.

    It asks each variable itself, not a pattern of paths: those depend on how layers are named.
    """

    def __call__(self, variable: Any) -> Any:
        return self[GATES] if is_gate_variable(variable) else self.default_optimizer


@keras.saving.register_keras_serializable(package="tfgates")
class GatedOptimizer(keras.optimizers.MultiOptimizer):
    """Updates the gates by one optimizer and everything else by another, see `with_gate_optimizer`.

    Code that sets or reads a learning rate sees the optimizer of the weights: `learning_rate` is that of the weights,
    so `keras.callbacks.LearningRateScheduler`, `ReduceLROnPlateau`, `TensorBoard` and other loggers
    act on the weights and report them. Gates keep their pace.

    Args:
        optimizer_map: a `GateOptimizerMap`, or any `keras.optimizers.OptimizerMap` with the entry `"gates"`.
        loss_scale_factor: as in `keras.optimizers.Optimizer`, for both. Defaults to None: that of the
            optimizer of the weights.
        name: string.

    Attributes:
        weights_optimizer, gate_optimizer: the two.
        optimizers: `[weights_optimizer]` if that one averages the weights (`use_ema`), which is where
            `keras.callbacks.SwapEMAWeights` finds it. Otherwise there is no such attribute, since callbacks of
            Keras name learning rates after optimizers where it exists.
    """

    def __init__(self, optimizer_map: Any, loss_scale_factor: Any = None, name: str = "gated_optimizer") -> None:
        if loss_scale_factor is None:
            loss_scale_factor = optimizer_map.default_optimizer.loss_scale_factor
        super().__init__(optimizer_map, loss_scale_factor=loss_scale_factor, name=name)

    @property
    def weights_optimizer(self) -> Any:
        return routes_of(self).default_optimizer

    @property
    def gate_optimizer(self) -> Any:
        return routes_of(self)[GATES]

    @property
    def optimizers(self) -> Any:
        if self.weights_optimizer.use_ema:
            return [self.weights_optimizer]
        raise AttributeError(
            "`optimizers` are those with averages of the weights (`use_ema`); there is none. "
            "The two optimizers are `weights_optimizer` and `gate_optimizer`"
        )

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the weights."""
        return self.weights_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.weights_optimizer.learning_rate = value


def of_weights(optimizer: Any) -> Any:
    """The optimizer of the weights in one with a loss scale or with an entry for gates."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return getattr(optimizer, "weights_optimizer", optimizer)
