"""Recurrent layers, and what they have in common with attention."""

import inspect

import keras
import numpy as np

from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.rule import register_rule
from tfgates.graph.rules.declared import DeclaredRule

layers = keras.layers


class InputFeatures:
    """What both kinds have in common: input features that a kernel `(features, ...)` reads."""

    def take_input(self, walk, node, x, name, size, axis):
        """Channels of one input; features that are the constant 0 can go, others cannot."""
        if x is None or x.axis != axis:
            if x is not None:
                walk.groups.lock(x.group, f"{node.name}: reads another axis")
                walk.need(x, TRUE)
            x = walk.local(axis, size)
            walk.groups.lock(x.group, f"input of {node.name}")
        walk.slot(node, name, x.group)
        stuck = (x.live != TRUE) & (x.value != 0.0)
        walk.groups.lock(x.group[stuck], f"{node.name}: reads a constant other than 0")
        return x

    def demand(self, walk, x, used):
        if x is not None:
            walk.need(x, np.where(used, TRUE, FALSE))


@register_rule(layers.SimpleRNN, layers.LSTM, layers.GRU)
class RecurrentRule(InputFeatures, DeclaredRule):
    """Hidden units are kept whole; input features that are the constant 0 go, whatever steps are masked."""

    keeps = "the hidden units of recurrent layers are kept whole"

    def forward(self, walk, node):
        layer, (x, *masks) = node.op, walk.inputs(node)
        given = inspect.signature(layer.call).bind(*node.args, **node.kwargs).arguments
        if given.get("initial_state") is not None or len(node.outputs) > 1 or layer.stateful:
            return self.refuse(walk, node, f"{node.name}: recurrent layers with states are kept whole")
        for mask in masks:
            if mask is not None:
                walk.groups.lock(mask.group, f"{node.name}: a mask is kept whole")
                walk.need(mask, TRUE)
        kernel = layer.cell.kernel
        walk.state[node.index, "x"] = self.take_input(walk, node, x, "inputs", kernel.shape[0], 2)
        y = walk.fresh(len(walk.shape(node.outputs[0])) - 1, layer.units)
        walk.groups.lock(y.group, f"{node.name}: the hidden units of recurrent layers are kept whole")
        walk.set(node, y)

    def backward(self, walk, node):
        if node.index in walk.refused:
            return super().backward(walk, node)
        used = walk.nonzero(walk.weight(node.op.cell.kernel), (1,))
        self.demand(walk, walk.state[node.index, "x"], used)

    def emit(self, surgery, node, args, kwargs):
        if node.index in surgery.walk.refused:
            return super().emit(surgery, node, args, kwargs)
        return (surgery.made(node) or self.smaller(surgery, node))(*args, **kwargs)

    def sources(self, walk, node, keep):
        return node.inputs
