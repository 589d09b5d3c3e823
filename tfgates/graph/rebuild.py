"""The calls of a network made again, on other layers: a new graph from the list of calls."""

from collections.abc import Callable, Container
from typing import Any

import keras
from keras import tree

from tfgates.graph.network import Network, Node, Ref
from tfgates.graph.specs import with_sizes_of, write_sizes
from tfgates.keras_internals import dense, inputs_structure, outputs_structure


def rebuild(
    network: Network, emit: Callable[[Node, Any, Any], Any], used_nodes: Container[int] | None = None
) -> tuple[Any, Any]:
    """Calls `emit(node, args, kwargs)` for each call in order and returns the new inputs, outputs.

    Args:
        network: a `Network`.
        emit: function that makes the new call and returns its output or outputs. `args` and
            `kwargs` hold the new tensors in place of references.
        used_nodes: indices of the calls to make; all by default.

    Returns:
        Pair of the inputs and outputs, in the structure of the original model's.
    """
    tensors, asked = {}, []
    for number, original in zip(network.inputs, network.functional.inputs, strict=True):
        tensors[number] = keras.Input(
            batch_shape=original.shape, dtype=original.dtype, sparse=original.sparse, name=original.name
        )

    reads_sparse = any(getattr(tensor, "sparse", False) for tensor in network.functional.inputs)

    def value(x: Any) -> Any:
        return tensors.get(x.tensor) if isinstance(x, Ref) else x

    for node in network.nodes:
        if used_nodes is not None and node.index not in used_nodes:
            continue
        args, kwargs = tree.map_structure(value, (node.args, node.kwargs))
        outputs = emit(node, args, kwargs)
        asked += with_sizes_of(outputs, [network.shapes[number] for number in node.outputs])
        for number, tensor in zip(node.outputs, tree.flatten(outputs), strict=True):
            tensors[number] = tensor if reads_sparse else dense(tensor)
    write_sizes(asked)
    functional = network.functional
    inputs = tree.pack_sequence_as(inputs_structure(functional), [tensors[n] for n in network.inputs])
    outputs = tree.pack_sequence_as(outputs_structure(functional), [tensors[n] for n in network.outputs])
    return inputs, outputs
