"""Parameters and MACs counted layer by layer, without tfgates."""

import math

import keras
from keras import tree

K = keras.layers
CONVOLUTIONS = (K.Conv1D, K.Conv2D, K.Conv3D)
TRANSPOSED = (K.Conv1DTranspose, K.Conv2DTranspose, K.Conv3DTranspose)
SEPARABLE = (K.SeparableConv1D, K.SeparableConv2D)
DEPTHWISE = (K.DepthwiseConv1D, K.DepthwiseConv2D)


def places(shape):
    return math.prod(shape[1:-1])


def macs_of_call(layer, inputs, output):
    """Multiply-accumulates of one call for one example; channels last."""
    x = tree.flatten(inputs)[0].shape
    y = tree.flatten(output)[0].shape
    if isinstance(layer, SEPARABLE):
        depthwise = layer.depthwise_kernel.shape[:-2]
        through = x[-1] * layer.depth_multiplier
        return places(y) * (math.prod(depthwise) * through + through * y[-1])
    if isinstance(layer, TRANSPOSED):
        return places(x) * math.prod(layer.kernel.shape)
    if isinstance(layer, (*DEPTHWISE, *CONVOLUTIONS)):
        return places(y) * math.prod(layer.kernel.shape)
    if isinstance(layer, (K.Dense, K.EinsumDense)):
        return places(x) * math.prod(layer.kernel.shape)
    if isinstance(layer, (K.LSTM, K.GRU, K.SimpleRNN)):
        kernels = math.prod(layer.cell.kernel.shape) + math.prod(layer.cell.recurrent_kernel.shape)
        return x[1] * kernels
    if isinstance(layer, K.MultiHeadAttention):
        query, key = (tree.flatten(inputs)[i].shape for i in (0, 1))
        heads, key_width = layer._query_dense.kernel.shape[1:]
        value_width = layer._value_dense.kernel.shape[2]
        read, written = query[1], key[1]
        gates = heads * value_width if layer.get_config()["use_gate"] else 0
        total = read * query[-1] * (heads * key_width + gates) + written * key[-1] * heads * (key_width + value_width)
        total += heads * read * written * (key_width + value_width)
        return total + read * heads * value_width * y[-1]
    if type(layer).__name__ == "StackedDense":
        read, kernel, _ = layer.letters
        batch = next(letter for letter in read if letter not in kernel)
        sizes = dict(zip(read, x, strict=True)) | dict(zip(kernel, layer.kernel.shape, strict=True))
        return math.prod(size for letter, size in sizes.items() if letter != batch)
    if hasattr(layer, "macs_of_call"):
        return layer.macs_of_call(tree.flatten(inputs)[0])
    if type(layer).__name__ == "Matmul":
        return math.prod(y[1:]) * x[-1]
    if isinstance(layer, K.Attention):
        value = tree.flatten(inputs)[1].shape
        return x[1] * value[1] * (x[-1] + value[-1])
    if type(layer).__name__ == "Einsum" and "." not in layer.subscripts:
        read, _, made = layer.subscripts.partition("->")
        lengths = [size for tensor in tree.flatten(inputs) for size in tensor.shape]
        sizes = dict(zip(read.replace(",", ""), lengths, strict=True))
        return math.prod(size for letter, size in sizes.items() if letter != made[0])
    return 0


def macs_of(model):
    """Multiply-accumulates of a functional or sequential model, for one example."""
    model = keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model
    total = 0
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            if not node.is_input:
                given = [t for t in tree.flatten(node.arguments.args) if isinstance(t, keras.KerasTensor)]
                nested = isinstance(node.operation, keras.Model)
                total += macs_of(node.operation) if nested else macs_of_call(node.operation, given, node.outputs)
    return total
