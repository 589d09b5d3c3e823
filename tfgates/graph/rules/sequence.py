"""Attention and recurrent layers."""

import inspect

import keras
import numpy as np

from tfgates.graph.formula import FALSE, TRUE
from tfgates.graph.network import Ref
from tfgates.graph.rule import Term, register_rule
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.rules.linear import is_altered
from tfgates.graph.sizes import entries_per_example, places

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


@register_rule(layers.MultiHeadAttention)
class AttentionRule(InputFeatures, DeclaredRule):
    """`concat_h(softmax(q_h k_h) v_h) W`: heads that W does not read go, and so do output features."""

    keeps = "no gates are placed on the heads of attention"

    KERNELS = (("query", "_query_dense"), ("key", "_key_dense"), ("value", "_value_dense"))

    def _parts(self, node):
        return {name: getattr(node.op, attribute) for name, attribute in self.KERNELS}

    def _tensors(self, node):
        """The numbers of the tensors read as query, value and key."""
        names = ("query", "value", "key")
        given = dict(zip(names, node.args, strict=False))
        given.update({k: v for k, v in node.kwargs.items() if k in names})
        if given.get("key") is None:
            given["key"] = given.get("value")
        return {name: r.tensor for name, r in given.items() if isinstance(r, Ref)}

    def unsupported(self, walk, node, tensors):
        """None, or why the layer is left alone."""
        layer = node.op
        config = layer.get_config()
        if any(map(is_altered, layer._flatten_layers())):
            return "quantised and LoRA layers are kept whole"
        if len(node.outputs) > 1 or len(tensors) < 3:
            return "its scores are an output too, or its inputs are not tensors"
        if len(layer._output_dense.kernel.shape) != 3 or config.get("use_gate"):
            return "attention with gates of its own, or with outputs of several axes, is kept whole"
        if len(config["attention_axes"]) != len(walk.shape(tensors["value"])) - 2:
            return "attention over some of the axes is kept whole"
        return None

    def forward(self, walk, node):
        layer = node.op
        shape = walk.shape(node.outputs[0])
        tensors = self._tensors(node)
        reason = self.unsupported(walk, node, tensors)
        if reason:
            return self.refuse(walk, node, f"{node.name}: {reason}")
        taken = {}
        for name, dense in self._parts(node).items():
            x = walk.channels[tensors[name]]
            taken[name] = self.take_input(walk, node, x, name, dense.kernel.shape[0], len(shape) - 1)
        for tensor in set(node.inputs) - set(tensors.values()):
            channels = walk.channels[tensor]
            if channels is not None:
                walk.groups.lock(channels.group, f"{node.name}: a mask is kept whole")
                walk.need(channels, TRUE)
        walk.state[node.index, "taken"] = taken
        heads = walk.local(0, layer.num_heads)
        heads.group = walk.slot(node, "heads", layer.num_heads)
        walk.state[node.index, "heads"] = heads
        output = walk.weight(layer._output_dense.kernel)
        reached = walk.nonzero(output, (0, 1))
        bias = layer._output_dense.bias
        bias = np.zeros(output.shape[2]) if bias is None else walk.weight(bias)
        y = walk.fresh(len(shape) - 1, output.shape[2], np.where(reached, TRUE, FALSE), np.where(reached, np.nan, bias))
        y.group = walk.slot(node, "outputs", output.shape[2])
        walk.set(node, y)

    def backward(self, walk, node):
        if node.index in walk.refused:
            return super().backward(walk, node)
        output = walk.weight(node.op._output_dense.kernel)
        used = walk.nonzero(output, (1,))[:, walk.output(node).need != FALSE].any(axis=1)
        walk.need(walk.state[node.index, "heads"], np.where(used, TRUE, FALSE))
        for name, dense in self._parts(node).items():
            reads = walk.nonzero(walk.weight(dense.kernel), (2,))[:, used].any(axis=1)
            self.demand(walk, walk.state[node.index, "taken"][name], reads)

    def tensor(self, node, name):
        return node.outputs[0] if name == "outputs" else self._tensors(node)[name]

    def places(self, walk, node, name):
        return places(walk.network, self.tensor(node, name), -1)

    def terms(self, walk, node):
        terms = super().terms(walk, node)
        if node.index in walk.refused:
            return terms
        found = {name: self.places(walk, node, name) for name in ("query", "key")}
        scores = self.anatomy(node).scores(node.op, found) / entries_per_example(
            walk.network, self.tensor(node, "query")
        )
        return [*terms, Term(node.name, 0, scores, (walk.slots[id(node.op)]["heads"],))]

    def sources(self, walk, node, keep):
        return node.inputs

    def emit(self, surgery, node, args, kwargs):
        if node.index in surgery.walk.refused:
            return super().emit(surgery, node, args, kwargs)
        return (surgery.made(node) or self.smaller(surgery, node))(*args, **kwargs)
