"""Depthwise convolutions, in one and two dimensions."""

import numpy as np

from tfgates.anatomy.convolution import DepthwiseAnatomy
from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.rule import register_rule
from tfgates.graph.rules import activations
from tfgates.graph.rules.linear import LinearRule
from tfgates.graph.values import through_weights


@register_rule(DepthwiseAnatomy)
class DepthwiseRule(LinearRule):
    """Kernel `(*window, inputs, multiplier)`: an output belongs to its one input."""

    def sizes(self, walk, node):
        inputs = self.counts(walk, node)["channels"]
        return inputs, inputs * node.op.depth_multiplier

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
        return walk.slot(node, "outputs", np.repeat(x.group, node.op.depth_multiplier))

    def backward(self, walk, node):
        if node.index in walk.refused:
            return super().backward(walk, node)
        x, y = walk.notes(node).x, walk.output(node)
        demand = y.need
        if not activations.is_elementwise(node.op.activation, y.axis):
            demand = np.full(len(y), walk.formulas.any(demand), np.int64)
        demand = demand.reshape(-1, node.op.depth_multiplier)
        for column in demand.T:
            walk.need(x, column)

    def constants_left(self, walk, node, keep):
        # With an input goes its output: nothing is left to fold a constant into.
        return np.zeros(self.sizes(walk, node)[1]), False

    def scales_outputs(self, node, factor):
        return False

    def scales_inputs(self, walk, node):
        return False

    def folds(self, surgery, node, keep, config):
        return {}
