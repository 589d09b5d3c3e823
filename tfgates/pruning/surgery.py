"""Making the smaller network, layer by layer."""

import keras
import numpy as np
from keras import ops

from tfgates.gates import Gate
from tfgates.graph.copier import Copier
from tfgates.graph.rules import activations


class ClosedLayerError(ValueError):
    """A layer that the network needs has no unit left."""


def closed_layer(name):
    return ClosedLayerError(
        f"All units of layer {name!r} are closed, so nothing would be left of it: train with a smaller "
        "penalty, or keep the likeliest ones by `min_units=1`. Received: min_units=0"
    )


class Surgery(Copier):
    """What rules use to make the successors of layers.

    Args:
        walk: a finished `Walk`.
        keep: boolean array, for each group whether it stays.
        used: set of indices of the calls that are left.
    """

    def __init__(self, walk, keep, used):
        super().__init__()
        self.walk = walk
        self._keep = keep
        self._factors, self._folded = fold_gates(walk, used)

    def keep(self, groups):
        """Which of `groups` stay, as a boolean array."""
        return self._keep[groups]

    def factor(self, node, size):
        """Product of the gates behind the call that are folded into its weights, per channel."""
        return self._factors.get(node.index, np.ones(size))

    def is_folded(self, node):
        """Whether a gate's factor has gone into the weights before it."""
        return node.index in self._folded

    def reshaped(self, node, shape):
        """A Reshape to `shape`, in place of one with the channels' old number baked in."""
        return keras.layers.Reshape(shape, name=self.name(node))

    def pick(self, tensor, keep, axis):
        """The positions `keep` of `tensor` along `axis`."""
        if keep.all():
            return tensor
        return ops.take(tensor, np.flatnonzero(keep).astype("int32"), axis=axis)

    def scale(self, tensor, factor, axis, node):
        """`factor * tensor` along `axis`, as a plain Keras layer; nothing if all factors are 1."""
        return self._rescale(tensor, factor, np.zeros(len(factor)), axis, node)

    def shift(self, tensor, offset, axis, node):
        """`tensor + offset` along `axis`, as a plain Keras layer; nothing if all offsets are 0."""
        return self._rescale(tensor, np.ones(len(offset)), offset, axis, node)

    def _rescale(self, tensor, scale, offset, axis, node):
        if np.all(scale == 1.0) and not np.any(offset):
            return tensor
        # Trailing axes of length 1 bring the channels to their place whatever the data format.
        shape = (-1,) + (1,) * (len(tensor.shape) - 1 - axis)
        scale, offset = (
            v.reshape(shape).tolist() if np.any(v != v[0]) else float(v[0]) for v in (scale, offset)
        )
        layer = keras.layers.Rescaling(scale, offset, name=self.name(node))
        return layer(tensor)

    def nothing_left(self, node):
        raise closed_layer(node.name)


def fold_gates(walk, used):
    """Which gates that stand alone can go into the weights of the layer before.

    Returns:
        Pair of the factors per channel by index of the layer's call, and the indices of the gates.
    """
    calls = {}
    for node in walk.network.nodes:
        if node.index in used:
            calls[id(node.op)] = calls.get(id(node.op), 0) + 1
    factors, folded = {}, set()
    for node in walk.network.nodes:
        if node.index not in used or not isinstance(node.op, Gate):
            continue
        before, x = walk.network.producer[node.inputs[0]], walk.inputs(node)[0]
        if before is None or x is None or before.index in factors or before.index in walk.refused:
            continue
        alone = len([n for n in walk.network.consumers[node.inputs[0]] if n.index in used]) == 1
        if not alone or calls[id(before.op)] > 1 or node.inputs[0] in walk.network.outputs:
            continue
        factor = values_at(walk, node, x)
        if factor is not None and accepts(before, factor):
            factors[before.index] = factor
            folded.add(node.index)
    return factors, folded


def values_at(walk, node, x):
    """A gate's inference values for each channel of x, or None if it lies along another axis."""
    gate = node.op
    if gate.axis is None:
        return np.repeat(walk.gate(gate)[1], len(x))
    if gate.axis % len(walk.shape(node.inputs[0])) != x.axis:
        return None
    return walk.gate_positions(gate, len(x))[1]


def accepts(node, factor):
    """Whether a layer's weights can take a factor on its outputs."""
    layer = node.op
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.gamma is not None or hasattr(layer, "gate")
    if not isinstance(layer, (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)):
        return False
    if activations.name_of(layer.activation) == "linear":
        return True
    return activations.name_of(layer.activation) in activations.HOMOGENEOUS and bool(np.all(factor >= 0.0))
