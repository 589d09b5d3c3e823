"""Gates with an optimizer of their own."""

from typing import Any

import keras

from tfgates.optimizers.gated_optimizer import GATES, GatedOptimizer, GateOptimizerMap

# How often a gate can cross its range in a training run, and the bounds for each step.
CROSSINGS = 25.0
LEAST_STEP, LARGEST_STEP = 0.002, 0.02

# The step where the length of the run is not known.
UNKNOWN_STEP = 1 / 300


def with_gate_optimizer(weights_optimizer: Any, gate_optimizer: Any) -> Any:
    """An optimizer that updates the gates by one optimizer and everything else by another.

    Gates need their own learning rate, often much higher than that of the weights and never
    decayed, and no weight decay. Exactly the gates' trainable variables, `logits` or `scale`, and
    those of a `tfgates.layers.GateGenerator`, which makes logits, go to `gate_optimizer`.

    Args:
        weights_optimizer: a `keras.optimizers.Optimizer`, its name as a string, or its config.
        gate_optimizer: likewise, another instance.

    Returns:
        A `GatedOptimizer`, a `keras.optimizers.MultiOptimizer` whose `learning_rate` is that of the weights.

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
    return GatedOptimizer(GateOptimizerMap(weights_optimizer, {GATES: gate_optimizer}))


def gate_learning_rate(gates: Any, steps: Any = None) -> Any:
    """A learning rate of Adam with which each gate can cross its range 25 times in a training run.

    `min(0.02, max(0.002, 25 / steps)) * travel`, where `Gate.travel` is the distance of the gate's variable
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


def _checked(name: str, optimizer: Any) -> Any:
    optimizer = keras.optimizers.get(optimizer)
    refused = (keras.optimizers.MultiOptimizer, keras.optimizers.LossScaleOptimizer)
    if isinstance(optimizer, refused):
        raise ValueError(
            f"`{name}` must be an optimizer other than {[kind.__name__ for kind in refused]}. "
            f"Received: {name}={optimizer!r}"
        )
    return optimizer
