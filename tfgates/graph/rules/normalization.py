"""Normalisations: batch normalisation treats each channel by itself, the others average over them."""

from typing import Any

import keras
import numpy as np
from keras import tree

from tfgates.graph.formula import TRUE
from tfgates.graph.network import Ref
from tfgates.graph.phase import trains
from tfgates.graph.rule import ElementwiseRule, Rule, Term, register_rule, rule_for
from tfgates.graph.rules import activations
from tfgates.graph.values import through_gate
from tfgates.layers import GatedBatchNormalization

layers = keras.layers


class PerChannelRule(ElementwiseRule):
    """A layer with weights of one entry per channel."""

    weights: tuple[str, ...] = ()
    plain = None

    def forward(self, walk, node):
        super().forward(walk, node)
        y = walk.output(node)
        if y is None:
            # Another call of the same layer may know its channels: they have to stay all the same.
            size = max(np.size(v) for v in self.values(walk, node).values())
            y = walk.local(1, size)
            walk.groups.lock(y.group, f"{node.name}: it is used where its channels cannot be followed too")
        walk.slot(node, "channels", y.group)

    def terms(self, walk, node):
        once = 0 if walk.seen_before(node) else 1
        if walk.output(node) is None:
            # Not by channel: the weights of a PReLU may lie along several axes.
            return [Term(node.name, once * sum(map(np.size, self.values(walk, node).values())), 0)]
        return [Term(node.name, once * self.count(node), 0, (walk.slots[id(node.op)]["channels"],))]

    def count(self, node):
        """Weights per channel."""
        return sum(getattr(node.op, name, None) is not None for name in self.weights)

    def values(self, walk, node):
        """The weights as a dict from name to array."""
        found = {name: getattr(node.op, name, None) for name in self.weights}
        return {name: walk.weight(value) for name, value in found.items() if value is not None}

    def sources(self, walk, node, keep):
        # Neither the logits nor the noise of a gate.
        read = tree.flatten((node.args, node.kwargs.get("mask")))
        return [x.tensor for x in read if isinstance(x, Ref)]

    def emit(self, surgery, node, args, kwargs):
        new = surgery.made(node)
        if new is None:
            plain = self.plain or type(node.op)
            channels = surgery.walk.output(node)
            values = self.scaled(surgery, node, self.values(surgery.walk, node))
            config = plain.get_config(node.op)
            size = len(next(iter(values.values()), ()))
            keep = np.ones(size, bool) if channels is None else surgery.keep(channels.group)
            self.width(node, config, keep)
            new = surgery.make(node, plain, config, {name: v[keep] for name, v in values.items()})
        return new(args[0], **{k: v for k, v in kwargs.items() if k in ("mask", "training")})

    def scaled(self, surgery, node, values):
        """`values` with the factors of gates in them."""
        return values

    def width(self, node, config, keep):
        """Writes the new number of channels into the layer's config, where it stands there."""


@register_rule(layers.BatchNormalization, GatedBatchNormalization)
class BatchNormalizationRule(PerChannelRule):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, then its gate if it has one."""

    reason = "it normalises another axis than the one that carries the channels"
    plain = layers.BatchNormalization
    weights = (
        "gamma", "beta", "moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev",
    )  # fmt: skip

    def keeps_axis(self, walk, node, x):
        return node.op.axis % len(walk.shape(node.inputs[0])) == x.axis

    def gate(self, walk, node, size):
        gate = getattr(node.op, "gate", None)
        if gate is None:
            return np.full(size, TRUE, np.int64), np.ones(size)
        return walk.gate_positions(gate, size)

    def forward(self, walk, node):
        super().forward(walk, node)
        mask = node.kwargs.get("mask")
        channels = walk.channels[mask.tensor] if isinstance(mask, Ref) else None
        if channels is not None:
            walk.groups.lock(channels.group, f"{node.name}: a mask is kept whole")
            walk.need(channels, TRUE)
        y = walk.output(node)
        if y is not None:
            live, value = through_gate(walk, y.live, y.value, *self.gate(walk, node, len(y)))
            walk.set(node, walk.like(y, live=live, value=value))

    def apply(self, walk, node, x):
        layer = node.op
        v = {name: walk.weight(getattr(layer, name)) for name in ("moving_mean", "moving_variance")}
        scale = 1.0 / np.sqrt(v["moving_variance"].astype(np.float64) + layer.epsilon)
        if layer.gamma is not None:
            scale = scale * walk.weight(layer.gamma)
        shift = 0.0 if layer.beta is None else walk.weight(layer.beta)
        return (x.value - v["moving_mean"]) * scale + shift

    def backward(self, walk, node):
        x, y = walk.inputs(node)[0], walk.output(node)
        if node.index in walk.refused or x is None:
            return super().backward(walk, node)
        walk.need(x, walk.formulas.both(y.need, self.gate(walk, node, len(y))[0]))

    def count(self, node):
        # The gate's factor needs a gamma to live in.
        return super().count(node) + (hasattr(node.op, "gate") and node.op.gamma is None)

    def values(self, walk, node):
        values = super().values(walk, node)
        if hasattr(node.op, "gate"):
            values.setdefault("gamma", np.ones_like(values["moving_mean"]))
        return values

    def scaled(self, surgery, node, values):
        size = len(values["moving_mean"])
        factor = self.gate(surgery.walk, node, size)[1] * surgery.factor(node, size)
        offset = surgery.mean_offset(node, size)
        values = {name: v - offset if name in ("moving_mean", "renorm_mean") else v for name, v in values.items()}
        return {name: v * factor if name in ("gamma", "beta") else v for name, v in values.items()}

    def scales_outputs(self, node, factor):
        return node.op.gamma is not None or hasattr(node.op, "gate")

    def width(self, node, config, keep):
        config["scale"] = node.op.gamma is not None or hasattr(node.op, "gate")


def absorber(walk: Any, node: Any) -> Any:
    """The batch normalisation whose moving mean can take a constant that is added to a call's output, or None."""
    readers = walk.network.consumers[node.outputs[0]]
    if len(readers) != 1 or node.outputs[0] in walk.network.outputs:
        return None
    (reader,) = readers
    fits = isinstance(rule_for(reader.op), BatchNormalizationRule) and reader.index not in walk.refused
    plain = activations.is_linear(node.op.activation) and not trains(reader)
    once = walk.called_once(node) and walk.called_once(reader)
    return reader if fits and plain and once and walk.output(reader) is not None else None


class AveragingRule(Rule):
    """A normalisation whose statistics run over the channels."""

    reason = keeps = "its statistics are averaged over the channels, so none of them can go"
    multiplies = False

    def forward(self, walk, node):
        x = walk.inputs(node)[0]
        if x is None:
            walk.set(node, None)
            return
        walk.groups.lock(x.group, self.why(node))
        walk.set(node, walk.like(x, live=np.full(len(x), TRUE), value=np.full(len(x), np.nan)))


for kind in (
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
):
    register_rule(kind)(AveragingRule)


@register_rule("LayerScale")
class LayerScaleRule(PerChannelRule):
    """`x * gamma`, as in keras.applications.convnext."""

    keeps_zero = True
    weights = ("gamma",)

    def keeps_axis(self, walk, node, x):
        return x.axis == len(walk.shape(node.inputs[0])) - 1

    def apply(self, walk, node, x):
        return x.value * walk.weight(node.op.gamma)

    def width(self, node, config, keep):
        config["projection_dim"] = int(keep.sum())


@register_rule(layers.PReLU)
class PReLURule(PerChannelRule):
    """`max(x, 0) + alpha * min(x, 0)`, alpha shared over all places but not over the channels."""

    reason = "its weights lie along other axes too"
    keeps_zero = True
    weights = ("alpha",)

    def keeps_axis(self, walk, node, x):
        shape = node.op.alpha.shape
        return all(size == 1 or axis == x.axis for axis, size in enumerate(shape, start=1))

    def apply(self, walk, node, x):
        alpha = walk.weight(node.op.alpha).reshape(-1)
        return np.where(x.value < 0.0, alpha * x.value, x.value)

    def terms(self, walk, node):
        terms = super().terms(walk, node)
        if walk.output(node) is not None and np.prod(node.op.alpha.shape) == 1:
            terms[0].over = ()
        return terms

    def emit(self, surgery, node, args, kwargs):
        channels = surgery.walk.output(node)
        if channels is None:
            return surgery.copy(node)(*args, **kwargs)
        new = surgery.made(node)
        if new is None:
            alpha = surgery.walk.weight(node.op.alpha)
            if alpha.shape[channels.axis - 1] > 1:
                alpha = np.compress(surgery.keep(channels.group), alpha, axis=channels.axis - 1)
            new = surgery.make(node, layers.PReLU, layers.PReLU.get_config(node.op), {"alpha": alpha})
        return new(args[0])
