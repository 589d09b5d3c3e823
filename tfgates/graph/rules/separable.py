"""Separable convolutions, in one and two dimensions."""

import keras
import numpy as np

from tfgates.graph.rule import Term, register_rule
from tfgates.graph.rules.convolution import ConvolutionRule
from tfgates.graph.rules.linear import LinearRule

layers = keras.layers


class SeparableRule(ConvolutionRule):
    """A depthwise kernel `(*window, inputs, multiplier)`, then a pointwise one."""

    def sizes(self, node):
        return node.op.depthwise_kernel.shape[-2], node.op.pointwise_kernel.shape[-1]

    def parts(self, node):
        return 1

    def _parts(self, walk, node):
        depthwise = walk.weight(node.op.depthwise_kernel)
        pointwise = walk.weight(node.op.pointwise_kernel)
        shape = (*depthwise.shape[-2:], pointwise.shape[-1])
        return depthwise, pointwise.reshape(shape)

    def _blocks(self, node, matrix):
        return matrix

    def mixing(self, walk, node):
        depthwise, pointwise = self._parts(walk, node)
        first = walk.nonzero(depthwise, range(depthwise.ndim - 2))
        return np.any(first[..., None] & walk.nonzero(pointwise, ()), axis=1)

    def sums(self, walk, node):
        depthwise, pointwise = self._parts(walk, node)
        first = depthwise.sum(axis=tuple(range(depthwise.ndim - 2)), dtype=np.float64)
        return np.einsum("im,imo->io", first, pointwise)

    def output_groups(self, walk, node, x, outputs):
        return LinearRule.output_groups(self, walk, node, x, outputs)

    def terms(self, walk, node):
        if node.index in walk.refused:
            return LinearRule.terms(self, walk, node)
        pointwise, *rest = LinearRule.terms(self, walk, node)
        window = int(np.prod(node.op.kernel_size)) * node.op.depth_multiplier
        once = 0 if walk.seen_before(node) else 1
        depthwise = Term(
            node.name,
            window * once,
            window * self.positions(walk, node),
            (walk.slots[id(node.op)]["in"],),
        )
        return [depthwise, pointwise, *rest]

    def kernel_size(self, node):
        return node.op.depth_multiplier

    def shrink(self, walk, node, keep_in, keep_out, factor_in, factor_out, config):
        depthwise, pointwise = self._parts(walk, node)
        config["filters"] = int(keep_out.sum())
        pointwise = pointwise[keep_in][..., keep_out]
        shape = (1,) * (depthwise.ndim - 2) + (-1, pointwise.shape[-1])
        return {"depthwise_kernel": depthwise[..., keep_in, :], "pointwise_kernel": pointwise.reshape(shape)}


@register_rule(layers.SeparableConv1D)
class SeparableConv1DRule(SeparableRule):
    plain = layers.SeparableConv1D


@register_rule(layers.SeparableConv2D)
class SeparableConv2DRule(SeparableRule):
    plain = layers.SeparableConv2D
