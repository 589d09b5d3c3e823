"""The calls of a network made again, on other layers: a new graph from the list of calls."""

from collections.abc import Callable, Container
from typing import Any

import keras
from keras import tree

from tfgates.graph.network import Network, Node, Ref
from tfgates.graph.specs import with_sizes_of, write_sizes
from tfgates.graph.unrolling import calls_behind
from tfgates.keras_internals import dense, history_of, inputs_structure, outputs_structure


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
        Pair of the inputs and outputs, in the structure of the original model's. Where there are several outputs they
        have the names that they had.
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
    found = [tensors[n] for n in network.outputs]
    if len(found) > 1:
        given = [tensors[n] for n in network.inputs]
        # Gates behind layers among them, which hide these.
        taken = {call.op.name for call in calls_behind(found, given)} | {producer(tensor).name for tensor in given}
        found = named(found, functional.output_names, taken)
    return inputs, tree.pack_sequence_as(outputs_structure(functional), found)


def producer(tensor: Any) -> Any:
    """The layer or operator that made a symbolic tensor."""
    return history_of(tensor).operation


def named(outputs: list[Any], names: list[str], taken: set[str]) -> list[Any]:
    """Outputs that are called by these names, which losses and metrics go by.

    Keras calls an output by the layer that made it. Where that was a nested model, which is laid out flat here, a layer
    of its name that does nothing makes it.
    """
    found = []
    for tensor, name in zip(outputs, names, strict=True):
        if producer(tensor).name != name and name not in taken:
            taken = {*taken, name}
            dtype = tensor.dtype if "float" in tensor.dtype else None
            tensor = keras.layers.Identity(name=name, dtype=dtype)(tensor)
        found.append(tensor)
    return found
