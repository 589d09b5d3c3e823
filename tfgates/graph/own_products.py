"""Products with a matrix that a layer of a user's has itself: as calls of a dense layer that holds the matrix."""

from typing import TYPE_CHECKING, Any

import keras

from tfgates.keras_internals import hold_kernel
from tfgates.layers.weight import Weight

if TYPE_CHECKING:
    from tfgates.graph.network import Node


def as_dense_layers(
    nodes: "list[Node]", phases: list[Any], shapes: list[Any], dtypes: list[str], outputs: list[int]
) -> None:
    """Puts dense layers in the place of matrices that are read by nothing but products with them.

    Several products with one matrix become calls of one layer. All is changed in place.

    Args:
        nodes: the calls of a network.
        phases: one for each of them.
        shapes, dtypes: of its tensors.
        outputs: the tensors that it returns.
    """
    readers: dict[int, list[Node]] = {}
    for node in nodes:
        for tensor in dict.fromkeys(node.inputs):
            readers.setdefault(tensor, []).append(node)
    gone: set[int] = set()
    for weight in nodes:
        if not isinstance(weight.op, Weight) or not is_matrix(weight.op):
            continue
        (tensor,), reading = weight.outputs, readers.get(weight.outputs[0], [])
        if tensor in outputs or not reading or not all(is_dense(n, tensor, shapes, dtypes) for n in reading):
            continue
        layer = dense_layer(weight.op)
        for node in reading:
            read = type(node.args[0])(node.inputs[0])
            node.op, node.args, node.kwargs, node.inputs, node.name = layer, (read,), {}, [read.tensor], weight.name
        gone.add(weight.index)
    kept = [(node, phase) for node, phase in zip(nodes, phases, strict=True) if node.index not in gone]
    nodes[:], phases[:] = [node for node, _ in kept], [phase for _, phase in kept]
    for index, node in enumerate(nodes):
        node.index = index


def is_matrix(weight: Weight) -> bool:
    """Whether a weight can be the kernel of a dense layer: a trained matrix, seen as such a layer sees its own."""
    plain = weight.compute_dtype == weight.variable_dtype or (weight.weight_autocast and weight.autocast)
    typed = keras.backend.standardize_dtype(weight.value.dtype) == weight.variable_dtype
    return len(weight.shape) == 2 and weight.learns and plain and typed


def is_dense(node: "Node", weight: int, shapes: list[Any], dtypes: list[str]) -> bool:
    """Whether a call multiplies the last axis of a tensor that has a batch with the first of a weight."""
    if len(node.inputs) != 2 or node.inputs[1] != weight or len(node.args) != 2 or node.kwargs:
        return False
    read, made = node.inputs[0], node.outputs[0]
    kind, rank = type(node.op).__name__, len(shapes[read])
    if rank < 2 or shapes[read][0] is not None or shapes[read][-1] is None or len(shapes[made]) != rank:
        return False
    if not dtypes[read] == dtypes[weight] == dtypes[made]:
        return False
    if kind == "Einsum":
        return is_last_axis(node.op.subscripts, rank)
    return kind in ("Matmul", "Dot") or (kind == "Tensordot" and node.op.axes == 1)


def is_last_axis(subscripts: str, rank: int) -> bool:
    """Whether an equation is a product of the last axis of its first factor with the first of its second, a matrix."""
    left, arrow, made = subscripts.replace(" ", "").partition("->")
    read, _, matrix = left.partition(",")
    letters, plain = read.replace("...", ""), len(set(read + made)) - 1 == len(set(read))
    named = arrow and (letters + matrix).isalpha() and (read == letters or read.startswith("..."))
    if not named or len(matrix) != 2 or not plain or len(set(letters)) != len(letters):
        return False
    ranks = len(letters) == rank if read == letters else 1 <= len(letters) < rank
    return bool(ranks and matrix[0] == letters[-1] and made == read[:-1] + matrix[1] and matrix[1] not in read)


def dense_layer(weight: Weight) -> keras.layers.Dense:
    """A dense layer without a bias that holds the variable of a weight."""
    made = keras.layers.Dense(
        weight.shape[1],
        use_bias=False,
        kernel_regularizer=weight.regularizer,
        kernel_constraint=weight.constraint,
        dtype=weight.dtype_policy,
        name=weight.name,
    )
    made.trainable = weight.trainable
    hold_kernel(made, weight.value)
    return made
