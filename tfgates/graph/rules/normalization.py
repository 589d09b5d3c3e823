"""Layers with weights of one entry per channel; batch normalisation above all."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import tree

from tfgates.anatomy import ChannelAnatomy
from tfgates.anatomy.normalization import BatchNormalizationAnatomy, LayerScaleAnatomy, PReLUAnatomy
from tfgates.graph.channels import Channels
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.formula import TRUE
from tfgates.graph.network import Node, Ref
from tfgates.graph.phase import trains
from tfgates.graph.rule import Term, register_rule, rule_for
from tfgates.graph.rules import activations
from tfgates.graph.rules.activations import call_at_inference
from tfgates.graph.rules.declared import DeclaredRule
from tfgates.graph.slices import Fold
from tfgates.graph.values import is_known, through_gate
from tfgates.graph.walk import Walk


@register_rule(ChannelAnatomy)
class PerChannelRule(ElementwiseRule, DeclaredRule):
    """A layer with weights of one entry per channel: what it makes of constants is tried."""

    reason = "it treats another axis than the one that carries the channels"

    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        return x.axis == self.anatomy(node).channel_axis(node.op, len(walk.shape(node.inputs[0])))

    def zero_stays(self, node: Node) -> bool:
        return self.anatomy(node).keeps_zero

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        shape = [size or 2 for size in walk.shape(node.inputs[0])]
        line = np.where(is_known(x.value), x.value, 0.0).astype("float32")
        tensor = np.broadcast_to(line.reshape(-1, *(1,) * (len(shape) - 1 - x.axis)), shape)
        made = np.moveaxis(np.asarray(keras.ops.convert_to_numpy(call_at_inference(node.op, tensor))), x.axis, 0)
        made = made.reshape(len(line), -1).astype(np.float64)
        alike = is_known(x.value) & (made == made[:, :1]).all(axis=1)
        return np.where(alike, made[:, 0], np.nan)

    def forward(self, walk: Walk, node: Node) -> None:
        super().forward(walk, node)
        y = walk.output(node)
        if y is None:
            # Another call of the same layer may know its channels: they have to stay all the same.
            size = max((math.prod(v.shape) for v in node.op.weights), default=0)
            y = walk.local(1, size)
            walk.groups.lock(y.group, f"{node.name}: it is used where its channels cannot be followed too")
        walk.slot(node, "channels", y.group)

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        if walk.output(node) is None:
            # Not by channel: the weights of a PReLU may lie along several axes.
            params = 0 if walk.seen_before(node) else self.anatomy(node).parameters(node.op)
            return [Term(node.name, params, 0)]
        return super().terms(walk, node)

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        # Neither the logits nor the noise of a gate.
        read = tree.flatten((node.args, node.kwargs.get("mask")))
        return [x.tensor for x in read if isinstance(x, Ref)]

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        new = surgery.made(node) or self.smaller(surgery, node)
        told = {k: v for k, v in kwargs.items() if k in ("mask", "training")}
        return new(args[0], **{**told, **surgery.feeds(node, args, kwargs)})

    def kept(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
        # Where the channels cannot be followed all of them stay.
        return {} if walk.output(node) is None else super().kept(walk, node, keep)

    def slices(
        self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]
    ) -> dict[str, dict[int, np.ndarray]] | None:
        return self.anatomy(node).kept(node.op, self.kept(walk, node, keep))


@register_rule(BatchNormalizationAnatomy)
class BatchNormalizationRule(PerChannelRule):
    """`gamma * (x - mean) / sqrt(variance + epsilon) + beta`, then its gate if it has one."""

    reason = "it normalises another axis than the one that carries the channels"

    def gate(self, walk: Walk, node: Node, size: int) -> tuple[np.ndarray, np.ndarray]:
        gate = getattr(node.op, "gate", None)
        if gate is None:
            return np.full(size, TRUE, np.int64), np.ones(size)
        return walk.gate_positions(gate, size)

    def forward(self, walk: Walk, node: Node) -> None:
        super().forward(walk, node)
        y = walk.output(node)
        if y is not None:
            live, value = through_gate(walk, y.live, y.value, *self.gate(walk, node, len(y)))
            walk.set(node, walk.like(y, live=live, value=value))

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        layer = node.op
        v = {name: walk.weight(getattr(layer, name)) for name in ("moving_mean", "moving_variance")}
        scale = 1.0 / np.sqrt(v["moving_variance"].astype(np.float64) + layer.epsilon)
        if layer.gamma is not None:
            scale = scale * walk.weight(layer.gamma)
        shift = 0.0 if layer.beta is None else walk.weight(layer.beta)
        return (x.value - v["moving_mean"]) * scale + shift

    def backward(self, walk: Walk, node: Node) -> None:
        x, y = walk.inputs(node)[0], walk.output(node)
        if node.index in walk.refused or x is None:
            return super().backward(walk, node)
        walk.need(x, walk.formulas.both(y.need, self.gate(walk, node, len(y))[0]))

    def terms(self, walk: Walk, node: Node) -> list[Term]:
        terms = super().terms(walk, node)
        if hasattr(node.op, "gate") and node.op.gamma is None:
            # The gate's factor needs a gamma to live in.
            gamma = Term(node.name, 0 if walk.seen_before(node) else 1, 0, (walk.slots[id(node.op)]["channels"],))
            return [*terms, gamma]
        return terms

    def folds(
        self, surgery: Any, node: Node, keep: dict[str, np.ndarray], config: dict[str, Any]
    ) -> dict[str, list[Fold]]:
        layer, size = node.op, node.op.moving_mean.shape[0]
        left = keep.get("channels", np.ones(size, bool))
        factor = (self.gate(surgery.walk, node, size)[1] * surgery.factor(node, size))[left]
        factors = [Fold(factor)] if np.any(factor != 1.0) else []
        found = {name: factors for name in ("gamma", "beta") if getattr(layer, name) is not None}
        if hasattr(layer, "gate") and layer.gamma is None and not surgery.gates_stay:
            config["scale"] = True
            found["gamma"] = [Fold(offset=np.ones(len(factor))), *factors]
        offset = surgery.mean_offset(node, size)[left]
        means = [name for name in ("moving_mean", "renorm_mean") if getattr(layer, name, None) is not None]
        return found | {name: [Fold(offset=-offset)] for name in means if np.any(offset)}

    def scales_outputs(self, node: Node, factor: np.ndarray) -> bool:
        return node.op.gamma is not None or hasattr(node.op, "gate")


def absorber(walk: Walk, node: Node) -> Any:
    """The batch normalisation whose moving mean can take a constant that is added to a call's output, or None."""
    readers = walk.network.consumers[node.outputs[0]]
    if len(readers) != 1 or node.outputs[0] in walk.network.outputs:
        return None
    (reader,) = readers
    fits = isinstance(rule_for(reader.op), BatchNormalizationRule) and reader.index not in walk.refused
    plain = activations.is_linear(getattr(node.op, "activation", None)) and not trains(reader)
    once = walk.called_once(node) and walk.called_once(reader)
    return reader if fits and plain and once and walk.output(reader) is not None else None


@register_rule(LayerScaleAnatomy)
class LayerScaleRule(PerChannelRule):
    """`x * gamma`, as in keras.applications.convnext."""

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        return x.value * walk.weight(node.op.gamma)


@register_rule(PReLUAnatomy)
class PReLURule(PerChannelRule):
    """`max(x, 0) + alpha * min(x, 0)`, alpha shared over all places but not over the channels."""

    reason = "its weights lie along other axes too"

    def keeps_axis(self, walk: Walk, node: Node, x: Channels) -> bool:
        shape = node.op.alpha.shape
        return all(size == 1 or axis == x.axis for axis, size in enumerate(shape, start=1))

    def apply(self, walk: Walk, node: Node, x: Channels) -> np.ndarray:
        alpha = walk.weight(node.op.alpha).reshape(-1)
        return np.where(x.value < 0.0, alpha * x.value, x.value)
