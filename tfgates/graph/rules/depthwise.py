"""Depthwise convolutions, in one and two dimensions."""

import keras
import numpy as np

from tfgates.graph.copier import config_of
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.rule import register_rule
from tfgates.graph.rules import activations
from tfgates.graph.rules.convolution import ConvolutionRule
from tfgates.graph.rules.linear import LinearRule
from tfgates.graph.values import through_weights

layers = keras.layers


class DepthwiseRule(ConvolutionRule):
    """Kernel `(*window, inputs, multiplier)`: an output belongs to its one input."""

    def sizes(self, node):
        inputs, multiplier = node.op.kernel.shape[-2:]
        return inputs, inputs * multiplier

    def mix(self, walk, node, live, value, outputs):
        kernel = walk.weight(node.op.kernel)
        window = tuple(range(kernel.ndim - 2))
        live, value = (np.repeat(v, node.op.depth_multiplier) for v in (live, value))
        constant = self.passes(node, value)
        if walk.symbolic:
            keeps_zero = getattr(node.op, "bias", None) is None
            return live, np.where(constant, through_weights(value, keeps_zero), np.nan)
        reaches = walk.nonzero(kernel, window).reshape(-1)
        total = value * kernel.sum(axis=window, dtype=np.float64).reshape(-1)
        total = np.where(reaches, np.where(constant, total, np.nan), 0.0) + self.bias(walk, node, outputs)
        live = np.where(reaches, np.where(constant | (live == TRUE), live, TRUE), FALSE)
        return live, total

    def output_groups(self, walk, node, x, outputs):
        slot = np.repeat(x.group, node.op.depth_multiplier)
        return walk.slot(node, "out", slot)

    def backward(self, walk, node):
        if node.index in walk.refused:
            return super().backward(walk, node)
        x, y = walk.state[node.index, "x"], walk.output(node)
        demand = y.need
        if not activations.is_elementwise(node.op.activation, y.axis):
            demand = np.full(len(y), walk.formulas.any(demand), np.int64)
        demand = demand.reshape(-1, node.op.depth_multiplier)
        for column in demand.T:
            walk.need(x, column)

    def terms(self, walk, node):
        if node.index in walk.refused:
            return LinearRule.terms(self, walk, node)
        kernel, *rest = LinearRule.terms(self, walk, node)
        kernel.over = kernel.over[1:]
        return [kernel, *rest]

    def bias_left(self, walk, node, keep):
        # With an input goes its output: nothing is left to fold a constant into.
        return self.bias(walk, node, self.sizes(node)[1]), False

    def smaller(self, surgery, node):
        walk, layer = surgery.walk, node.op
        keep_in = surgery.keep(walk.slots[id(layer)]["in"])
        keep_out = np.repeat(keep_in, layer.depth_multiplier)
        if not keep_in.any():
            surgery.nothing_left(node)
        weights = {"kernel": walk.weight(layer.kernel)[..., keep_in, :]}
        if layer.bias is not None:
            weights["bias"] = walk.weight(layer.bias)[keep_out]
        weights["activation"] = activations.variables_left(walk, layer.activation, keep_out, self.axes(walk, node)[1])
        return surgery.make(node, self.plain, config_of(layer, self.plain), weights)


@register_rule(layers.DepthwiseConv1D)
class DepthwiseConv1DRule(DepthwiseRule):
    plain = layers.DepthwiseConv1D


@register_rule(layers.DepthwiseConv2D)
class DepthwiseConv2DRule(DepthwiseRule):
    plain = layers.DepthwiseConv2D
