"""Gates with an optimizer of their own."""

import keras

# How often a gate can cross its range in a training run, and the bounds for each step.
CROSSINGS = 25.0
LEAST_STEP, LARGEST_STEP = 0.002, 0.02

# The step where the length of the run is not known.
UNKNOWN_STEP = 1 / 300


def is_gate_variable(variable):
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

    def __call__(self, variable):
        return self["gates"] if is_gate_variable(variable) else self.default_optimizer


def with_gate_optimizer(weights_optimizer, gate_optimizer):
    """An optimizer that updates the gates by one optimizer and everything else by another.

    Gates want a learning rate of their own, often much higher than that of the weights and never
    decayed, and no weight decay. Exactly the gates' trainable variables, `logits` or `scale`, and
    those of a `tfgates.layers.GateGenerator`, which makes logits, go to `gate_optimizer`.

    Args:
        weights_optimizer: a `keras.optimizers.Optimizer`, its name as a string, or its config.
        gate_optimizer: likewise, another instance.

    Returns:
        A `keras.optimizers.MultiOptimizer`. It serialises; its `learning_rate` raises, those of the
        two are at `optimizer.optimizers`.

    Raises:
        ValueError: if both are the same instance, or one is what a MultiOptimizer cannot hold.

    Example:

    >>> model.compile(
    ...     tfgates.optimizers.with_gate_optimizer("adam", keras.optimizers.Adam(0.02)),
    ...     loss="sparse_categorical_crossentropy",
    ... )

    Reference: Gallego-Posada et al. 2022, arXiv 2208.04425, appendix (learning rates of the gates);
    Li and Ji 2021, arXiv 2107.00070, section 5 (generators).
    """
    weights_optimizer = _checked("weights_optimizer", weights_optimizer)
    gate_optimizer = _checked("gate_optimizer", gate_optimizer)
    if weights_optimizer is gate_optimizer:
        raise ValueError(
            f"`gate_optimizer` must be another instance than `weights_optimizer`. Received: {gate_optimizer!r} for both"
        )
    return keras.optimizers.MultiOptimizer(GateOptimizerMap(weights_optimizer, {"gates": gate_optimizer}))


def gate_learning_rate(gates, steps=None):
    """A learning rate of Adam with which each gate can cross its range 25 times in a training run.

    `min(0.02, max(0.002, 25 / steps)) * travel`, where `Gate.travel` is the way of the gate's variable
    between an open probability of 0.95 and one of 0.05: one rule for every method, link and length of
    a run. A step of Adam is about the learning rate.

    Args:
        gates: list of `tfgates.gates.Gate`.
        steps: int, number of training steps. None, unknown: a step is 1/300 of the range.

    Returns:
        A float.
    """
    step = UNKNOWN_STEP if steps is None else min(LARGEST_STEP, max(LEAST_STEP, CROSSINGS / steps))
    return step * min(gate.travel() for gate in gates)


def _checked(name, optimizer):
    optimizer = keras.optimizers.get(optimizer)
    refused = (keras.optimizers.MultiOptimizer, keras.optimizers.LossScaleOptimizer)
    if isinstance(optimizer, refused):
        raise ValueError(
            f"`{name}` must be an optimizer other than {[kind.__name__ for kind in refused]}. "
            f"Received: {name}={optimizer!r}"
        )
    return optimizer
