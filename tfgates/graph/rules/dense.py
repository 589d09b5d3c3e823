"""Dense layers."""

import re

import keras
import numpy as np

from tfgates.graph.rule import register_rule
from tfgates.graph.rules.linear import LinearRule, kernel_of
from tfgates.layers import GatedDense


@register_rule(keras.layers.Dense, GatedDense)
class DenseRule(LinearRule):
    plain = keras.layers.Dense

    def axes(self, walk, node):
        return len(walk.shape(node.inputs[0])) - 1, len(walk.shape(node.outputs[0])) - 1

    def sizes(self, node):
        return tuple(node.op.kernel.shape)

    def mixing(self, walk, node):
        return walk.nonzero(kernel_of(walk, node.op), ())

    def sums(self, walk, node):
        return kernel_of(walk, node.op)

    def unknown_input(self, walk, node, axis, size):
        # Inputs that nothing produces channel by channel can still be picked from (see adapt_input).
        return walk.local(axis, size)

    def adapt_input(self, surgery, node, tensor):
        if surgery.walk.inputs(node)[0] is surgery.walk.state[node.index, "x"]:
            return tensor
        keep = surgery.keep(surgery.walk.slots[id(node.op)]["in"])
        return surgery.pick(tensor, keep, len(tensor.shape) - 1)

    def shrink(self, walk, node, keep_in, keep_out, factor_in, factor_out, config):
        kernel = kernel_of(walk, node.op)[np.ix_(keep_in, keep_out)]
        config["units"] = int(keep_out.sum())
        return {"kernel": kernel * factor_in[keep_in, None] * factor_out[keep_out]}


@register_rule(keras.layers.EinsumDense)
class EinsumDenseRule(DenseRule):
    """Equations that are a dense layer on the last axis, such as "abc,cd->abd"."""

    plain = keras.layers.EinsumDense

    def supported(self, node):
        match = re.fullmatch(r"(.*)(\w),(\w)(\w)->(.*)(\w)", node.op.equation.replace(" ", ""))
        dense = match and match[1] == match[5] and match[2] == match[3] and match[4] == match[6]
        if not dense or match[2] in match[1] or match[4] in match[1] or len(node.op.kernel.shape) != 2:
            return f"{node.name}: the equation {node.op.equation!r} is no dense layer on the last axis"
        if node.op.bias is not None and len(node.op.bias.shape) != 1:
            return f"{node.name}: its bias differs from place to place"
        return super().supported(node)

    def shrink(self, walk, node, keep_in, keep_out, factor_in, factor_out, config):
        kernel = kernel_of(walk, node.op)[np.ix_(keep_in, keep_out)]
        config["output_shape"] = (*node.op.partial_output_shape[:-1], int(keep_out.sum()))
        return {"kernel": kernel * factor_in[keep_in, None] * factor_out[keep_out]}

    def add_bias(self, node, config):
        config["bias_axes"] = node.op.equation.strip()[-1]
