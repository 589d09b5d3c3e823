"""Gates that train no further."""

from typing import Any

from tfgates.gates import gates_of
from tfgates.keras_internals import layers_within
from tfgates.layers import GateGenerator


def freeze_gates(model: Any) -> None:
    """Freezes all gates, and the generators of their logits, at the values that inference uses.

    Training then continues with the gates' inference values instead of draws, and changes only the
    weights. Compile the model again afterwards, as after every change of `trainable`. To continue training
    without the cost of what is closed, use `tfgates.prune` instead.

    Args:
        model: a `keras.Model` with gates.

    Raises:
        ValueError: if the model has no gate.
    """
    gates = gates_of(model)
    if not gates:
        raise ValueError(f"`model` must have gates. Received: model={model.name}, without any")
    for gate in gates:
        gate.trainable = False
    for layer in layers_within(model, include_self=False):
        if isinstance(layer, GateGenerator):
            layer.trainable = False
