"""Which layers make the outputs of a network random at inference."""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfgates.graph.calls import inputs_in_order
from tfgates.graph.equality import distance, state_kept, without_noise
from tfgates.graph.network import Network, Node, Ref


def random_reason(network: Network, x: Any, call: dict[str, Any]) -> str:
    """Why a network whose outputs are random cannot be compared with another, for an error."""
    try:
        names = [f"{node.name} ({type(node.op).__name__})" for node in random_calls(network, x, call)]
    except Exception:
        # Not every model takes inputs of other ranks or types call by call.
        names = []
    where = f"layers {', '.join(names)}" if names else "a layer that could not be found"
    return (
        "`model` gives other outputs each time it is called, with the same seeds too, so it cannot be compared with "
        "what is left of it: let its layers draw from a `keras.random.SeedGenerator` that they hold, as Keras's do. "
        f"Received: model {network.model.name!r}, in which this happens in {where}"
    )


def random_calls(network: Network, x: Any, call: dict[str, Any]) -> list[Node]:
    """The calls that give other outputs on the same inputs and with the same seeds, when a model is called on `x`.

    Args:
        network: a `Network`.
        x: inputs of the model.
        call: the keyword arguments that the model is called with.
    """
    given = inputs_in_order(network.functional, x) or []
    tensors = dict(zip(network.inputs, map(ops.convert_to_tensor, given), strict=True))
    found = []
    for node in network.nodes:

        def value(part: Any) -> Any:
            return tensors[part.tensor] if isinstance(part, Ref) else part

        args, kwargs = tree.map_structure(value, (node.args, node.kwargs))
        if node.layer is not None:
            kwargs.update(call)
        first, second = (once(node.op, args, kwargs) for _ in range(2))
        if any(distance(a, b) > 0.0 for a, b in zip(map(as_array, first), map(as_array, second), strict=True)):
            found.append(node)
        tensors.update(zip(node.outputs, first, strict=True))
    return found


def once(op: Any, args: Any, kwargs: Any) -> list[Any]:
    """The outputs of a call, from seeds that are the same each time."""
    if not isinstance(op, keras.Layer):
        return tree.flatten(op(*args, **kwargs))
    with state_kept(op), without_noise(op):
        return tree.flatten(op(*args, **kwargs))


def as_array(x: Any) -> np.ndarray:
    """A tensor as an array of floats."""
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")))
