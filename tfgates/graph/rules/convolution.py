"""Convolutions: plain, grouped, transposed, in one to three dimensions."""

import keras
import numpy as np

from tfgates.graph.rule import register_rule
from tfgates.graph.rules.linear import LinearRule, kernel_of
from tfgates.graph.sizes import places
from tfgates.layers import GatedConv2D

layers = keras.layers


def channel_axis(layer, rank):
    return 1 if layer.data_format == "channels_first" else rank - 1


class ConvolutionRule(LinearRule):
    """Kernel `(*window, inputs / groups, outputs)`."""

    def axes(self, walk, node):
        return (
            channel_axis(node.op, len(walk.shape(node.inputs[0]))),
            channel_axis(node.op, len(walk.shape(node.outputs[0]))),
        )

    def sizes(self, node):
        shape = node.op.kernel.shape
        return shape[-2] * node.op.groups, shape[-1]

    def uniform(self, node):
        return node.op.padding == "valid" or max(node.op.kernel_size) == 1

    def parts(self, node):
        return node.op.groups

    def _blocks(self, node, matrix):
        """The block-diagonal matrix (inputs, outputs) of a grouped convolution."""
        groups = node.op.groups
        if groups == 1:
            return matrix
        inputs, outputs = self.sizes(node)
        owner_in = np.arange(inputs) // (inputs // groups)
        owner_out = np.arange(outputs) // (outputs // groups)
        tiled = np.tile(matrix, (groups, 1))
        return np.where(owner_in[:, None] == owner_out, tiled, np.zeros((), matrix.dtype))

    def mixing(self, walk, node):
        kernel = kernel_of(walk, node.op)
        return self._blocks(node, walk.nonzero(kernel, range(kernel.ndim - 2)))

    def sums(self, walk, node):
        kernel = kernel_of(walk, node.op)
        return self._blocks(node, kernel.sum(axis=tuple(range(kernel.ndim - 2)), dtype=np.float64))

    def output_groups(self, walk, node, x, outputs):
        slot = super().output_groups(walk, node, x, outputs)
        groups = node.op.groups
        if groups > 1:
            # A group goes as a whole: the others must keep their equal sizes.
            first = x.group[:: len(x.group) // groups]
            walk.groups.tie(np.repeat(first, len(x.group) // groups), x.group)
            walk.groups.tie(np.repeat(first, outputs // groups), slot)
        return slot

    def terms(self, walk, node):
        terms = super().terms(walk, node)
        if node.op.groups > 1 and node.index not in walk.refused:
            # Inputs and outputs of a group stay together: one factor counts both.
            inputs = node.op.kernel.shape[-2]
            terms[0].params *= inputs
            terms[0].macs *= inputs
            terms[0].over = terms[0].over[1:]
        return terms

    def kernel_size(self, node):
        return int(np.prod(node.op.kernel_size))

    def shrink(self, walk, node, keep_in, keep_out, factor_in, factor_out, config):
        kernel = kernel_of(walk, node.op)[..., keep_out] * factor_out[keep_out]
        if node.op.groups == 1:
            kernel = kernel[..., keep_in, :] * factor_in[keep_in, None]
        else:
            outputs_per_group = len(keep_out) // node.op.groups
            config["groups"] = int(keep_out.sum()) // outputs_per_group
        config["filters"] = int(keep_out.sum())
        return {"kernel": kernel}


@register_rule(layers.Conv1D)
class Conv1DRule(ConvolutionRule):
    plain = layers.Conv1D


@register_rule(layers.Conv2D, GatedConv2D)
class Conv2DRule(ConvolutionRule):
    plain = layers.Conv2D


@register_rule(layers.Conv3D)
class Conv3DRule(ConvolutionRule):
    plain = layers.Conv3D


class TransposedRule(ConvolutionRule):
    """Kernel `(*window, outputs, inputs)`."""

    def sizes(self, node):
        shape = node.op.kernel.shape
        return shape[-1], shape[-2]

    def uniform(self, node):
        # Even unpadded, its border sees fewer taps than its middle.
        return max(node.op.kernel_size) == 1 and max(node.op.strides) == 1

    def mixing(self, walk, node):
        return super().mixing(walk, node).T

    def sums(self, walk, node):
        return super().sums(walk, node).T

    def _blocks(self, node, matrix):
        return matrix

    def terms(self, walk, node):
        return LinearRule.terms(self, walk, node)

    def output_groups(self, walk, node, x, outputs):
        return LinearRule.output_groups(self, walk, node, x, outputs)

    def parts(self, node):
        return 1

    def positions(self, walk, node):
        return places(walk.network, node.inputs[0], self.axes(walk, node)[0])

    def shrink(self, walk, node, keep_in, keep_out, factor_in, factor_out, config):
        kernel = walk.weight(node.op.kernel)
        config["filters"] = int(keep_out.sum())
        return {"kernel": kernel[..., keep_out, :][..., keep_in]}


@register_rule(layers.Conv1DTranspose)
class Conv1DTransposeRule(TransposedRule):
    plain = layers.Conv1DTranspose


@register_rule(layers.Conv2DTranspose)
class Conv2DTransposeRule(TransposedRule):
    plain = layers.Conv2DTranspose


@register_rule(layers.Conv3DTranspose)
class Conv3DTransposeRule(TransposedRule):
    plain = layers.Conv3DTranspose
