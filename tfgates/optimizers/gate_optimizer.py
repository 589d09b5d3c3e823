"""Gates with an optimizer of their own."""

import keras

# What gates call their trainable variable.
GATE_VARIABLES = ("logits", "scale")


def is_gate_variable(variable):
    """Whether a variable is the trainable variable of a gate.

    Gates keep it in float32 whatever the dtype policy, as no layer of Keras does with a weight of
    the same name, such as the scale of `keras.layers.RMSNormalization`.
    """
    return variable.path.split("/")[-1] in GATE_VARIABLES and not variable._autocast


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
    decayed, and no weight decay. Exactly the gates' trainable variables, `logits` or `scale`, go to
    `gate_optimizer`; those of a `tfgates.layers.GateGenerator`, which are weights of a layer, do not.

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

    Reference: Gallego-Posada et al. 2022, arXiv 2208.04425, appendix (learning rates of the gates).
    """
    weights_optimizer = _checked("weights_optimizer", weights_optimizer)
    gate_optimizer = _checked("gate_optimizer", gate_optimizer)
    if weights_optimizer is gate_optimizer:
        raise ValueError(
            "`gate_optimizer` must be another instance than `weights_optimizer`. "
            f"Received: {gate_optimizer!r} for both"
        )
    return keras.optimizers.MultiOptimizer(GateOptimizerMap(weights_optimizer, {"gates": gate_optimizer}))


def _checked(name, optimizer):
    optimizer = keras.optimizers.get(optimizer)
    refused = (keras.optimizers.MultiOptimizer, keras.optimizers.LossScaleOptimizer)
    if isinstance(optimizer, refused):
        raise ValueError(
            f"`{name}` must be an optimizer other than {[kind.__name__ for kind in refused]}. "
            f"Received: {name}={optimizer!r}"
        )
    return optimizer
