"""Counting the products of a TensorFlow graph."""

import math
import re
from typing import Any

import tensorflow as tf

from tfgates.graph.constants import constant, trips
from tfgates.graph.uncounted import UncountedError
from tfgates.keras_internals import graph_of_function

# Operations of TensorFlow that multiply in ways that are not counted here, or run what cannot be seen.
UNKNOWN = re.compile(
    "Conv(?!ert)|MatMul|Matmul|Einsum|Dot|RNN|LSTM|GRU|FFT|Cholesky|Svd|^Qr|^Lu$|Solve|Eig|Determinant|Inverse|"
    "MatrixExp|MatrixLog|MatrixSquare|Tridiagonal|Mfcc|Spectrogram|Quantized|Xla|TPU|PyFunc|MapDefun|RemoteCall|"
    "SymbolicGradient|BatchFunction|Dataset|LoopCond|^For$"
)


def products_of(graph: Any, known: dict[str, Any] | None = None) -> int:
    """The multiply-accumulates of one run of a graph.

    Args:
        graph: a `FuncGraph` of TensorFlow.
        known: values of tensors of the graph that are known before it runs, by name.

    Raises:
        UncountedError: if they cannot be counted.
    """
    known = known or {}
    total = 0
    for op in used(graph):
        if op.type in CONTROL:
            total += CONTROL[op.type](op, known)
        elif op.type in PRODUCTS:
            total += PRODUCTS[op.type](op)
        elif not hasattr(tf.raw_ops, op.type) and (function := graph_of_function(op.graph, op.type)) is not None:
            # Called as an operation of its name.
            total += products_of(function, inner_known(function, op.inputs, known))
        elif UNKNOWN.search(op.type) or not hasattr(tf.raw_ops, op.type):
            raise UncountedError(f"what its operation {op.type} multiplies is not known")
    return total


def used(graph: Any) -> list[Any]:
    """The operations that a graph runs: those that its outputs and effects depend on."""
    found: dict[str, Any] = {}
    stack = [*(tensor.op for tensor in graph.outputs), *graph.control_outputs]
    while stack:
        op = stack.pop()
        if op.name not in found:
            found[op.name] = op
            stack.extend(tensor.op for tensor in op.inputs)
            stack.extend(op.control_inputs)
    return list(found.values())


def sizes(tensor: Any) -> list[int]:
    """The shape of a tensor."""
    if tensor.shape.rank is None or None in tensor.shape.as_list():
        raise UncountedError(f"the sizes of its operation {tensor.op.type} show only when it runs")
    return tensor.shape.as_list()


# Products. Kernels: `(*window, inputs / groups, outputs)`, transposed `(*window, outputs, inputs)`.


def convolution(op: Any) -> int:
    return math.prod(sizes(op.outputs[0])) * math.prod(sizes(op.inputs[1])[:-1])


def transposed(op: Any) -> int:
    return math.prod(sizes(op.inputs[2])) * math.prod(sizes(op.inputs[1])[:-1])


def depthwise(op: Any) -> int:
    return math.prod(sizes(op.outputs[0])) * math.prod(sizes(op.inputs[1])[:-2])


def depthwise_transposed(op: Any) -> int:
    return math.prod(sizes(op.inputs[2])) * math.prod(sizes(op.inputs[1])[:-2])


def matrices(op: Any) -> int:
    turned = op.get_attr("transpose_a" if "transpose_a" in op.node_def.attr else "adj_x")
    return math.prod(sizes(op.outputs[0])) * sizes(op.inputs[0])[-2 if turned else -1]


def einsum(op: Any) -> int:
    """All combinations of indices; one of a single factor that the result has not is summed before."""
    left, result = op.get_attr("equation").decode().replace(" ", "").split("->")
    factors = left.split(",")
    if len(factors) < 2:
        return 0
    size: dict[str, int] = {}
    for indices, tensor in zip(factors, op.inputs, strict=True):
        shape = sizes(tensor)
        before, dots, after = indices.partition("...")
        wide = len(shape) - len(before) - len(after)
        # Those that the dots stand for are counted from the right, as they are broadcast.
        names = [*before, *(f"...{wide - i}" for i in range(wide if dots else 0)), *after]
        for name, length in zip(names, shape, strict=True):
            size[name] = max(length, size.get(name, 1))
    # What the dots stand for is in the result if it is anywhere.
    counted = [n for n in size if n.startswith("...") or n in result or all(n in f for f in factors)]
    return math.prod(size[name] for name in counted)


def weighted_sum(op: Any) -> int:
    """`sum(a * b)`: a product that is summed at once; neither a square nor a change of scale."""
    product = op.inputs[0].op
    if product.type != "Mul" or product.inputs[0] is product.inputs[1]:
        return 0
    if any(tensor.shape.num_elements() == 1 for tensor in product.inputs):
        return 0
    return math.prod(sizes(product.outputs[0]))


def recurrent(op: Any) -> int:
    """NVIDIA's recurrent layers: inputs `(steps, batch, features)`, states `(layers * directions, batch, units)`."""
    steps, batch, features = sizes(op.inputs[0])
    layers, _, units = sizes(op.inputs[1])
    directions = 2 if op.get_attr("direction") == b"bidirectional" else 1
    if layers != directions or op.get_attr("num_proj"):
        raise UncountedError(f"{op.type} of several layers or with a projection is not counted")
    gates = {b"lstm": 4, b"gru": 3}.get(op.get_attr("rnn_mode"), 1)
    return steps * batch * directions * gates * units * (features + units)


PRODUCTS = {
    "Conv2D": convolution,
    "Conv3D": convolution,
    "DepthwiseConv2dNative": depthwise,
    "Conv2DBackpropInput": transposed,
    "Conv3DBackpropInputV2": transposed,
    "DepthwiseConv2dNativeBackpropInput": depthwise_transposed,
    "MatMul": matrices,
    "BatchMatMul": matrices,
    "BatchMatMulV2": matrices,
    "BatchMatMulV3": matrices,
    "SparseMatMul": matrices,
    "Einsum": einsum,
    "Sum": weighted_sum,
    "Mean": weighted_sum,
    "CudnnRNN": recurrent,
    "CudnnRNNV2": recurrent,
    "CudnnRNNV3": recurrent,
}


# Functions, loops and branches.


def function_of(op: Any, attribute: str) -> Any:
    """The graph of a function that an operation calls."""
    return graph_named(op, op.get_attr(attribute).name)


def graph_named(op: Any, name: str) -> Any:
    return graph_of_function(op.graph, name)


def inner_known(graph: Any, tensors: Any, known: dict[str, Any]) -> dict[str, Any]:
    """The values that are known of a function's inputs, when it is called on `tensors`."""
    values = {inner.name: constant(outer, known) for inner, outer in zip(graph.inputs, tensors, strict=True)}
    return {name: value for name, value in values.items() if value is not None}


def called(op: Any, known: dict[str, Any]) -> int:
    graph = function_of(op, "f")
    return products_of(graph, inner_known(graph, op.inputs, known))


def loop(op: Any, known: dict[str, Any]) -> int:
    condition, body = function_of(op, "cond"), function_of(op, "body")
    # Only what no round changes is known of every round.
    same = [inner.name == outer.name for inner, outer in zip(body.inputs, map(source, body.outputs), strict=True)]

    def every_round(graph: Any) -> dict[str, Any]:
        return {
            name: value
            for name, value in inner_known(graph, op.inputs, known).items()
            if same[[t.name for t in graph.inputs].index(name)]
        }

    each, test = products_of(body, every_round(body)), products_of(condition, every_round(condition))
    if each == test == 0:
        return 0
    rounds = trips(condition, body, [constant(tensor, known) for tensor in op.inputs])
    if rounds is None:
        raise UncountedError("how often its loop runs shows only when it runs")
    return rounds * each + (rounds + 1) * test


def source(tensor: Any) -> Any:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def branches(op: Any, known: dict[str, Any]) -> int:
    if "branches" in op.node_def.attr:
        graphs = [graph_named(op, function.name) for function in op.get_attr("branches")]
    else:
        graphs = [function_of(op, "else_branch"), function_of(op, "then_branch")]
    chosen = constant(op.inputs[0], known)
    if chosen is not None and chosen.ndim == 0:
        index = int(chosen)
        graphs = [graphs[index] if 0 <= index < len(graphs) else graphs[-1]]
    counts = {products_of(graph, inner_known(graph, op.inputs[1:], known)) for graph in graphs}
    if len(counts) > 1:
        raise UncountedError("which of its branches runs, and what it multiplies, shows only when it runs")
    return counts.pop()


CONTROL = {
    "PartitionedCall": called,
    "StatefulPartitionedCall": called,
    "While": loop,
    "StatelessWhile": loop,
    "If": branches,
    "StatelessIf": branches,
    "Case": branches,
    "StatelessCase": branches,
}
