"""Concatenation."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfgates.graph.formula import TRUE
from tfgates.graph.masks import why_mixed, why_taken_off
from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, register_rule
from tfgates.graph.rules.read_in_part import as_far_as_needed
from tfgates.graph.values import numbers
from tfgates.graph.walk import Walk

layers = keras.layers


@register_rule(layers.Concatenate, "Concatenate")
class ConcatenateRule(Rule):
    """Along the channels: their groups side by side. Along another axis: channel tied to channel."""

    reason = "its tensors carry their channels on different axes"
    multiplies = False

    def axis(self, walk: Walk, node: Node) -> int:
        axis = node.op.axis
        return axis % len(walk.shape(node.outputs[0]))

    def forward(self, walk: Walk, node: Node) -> None:
        known, axis = walk.inputs(node), self.axis(walk, node)
        # What an operator makes carries no mask, whatever is left of its tensors: see `emit`.
        reason = (why_taken_off if node.layer is None else why_mixed)(walk.network, node)
        if reason is not None:
            return self.refuse(walk, node, reason)
        if all(c is None for c in known):
            walk.set(node, None)
            return
        axes = {c.axis for c in known if c is not None}
        if len(axes) > 1:
            return self.refuse(walk, node)
        place = axes.pop()
        sizes = [walk.shape(t)[place] for t in node.inputs]
        if None in sizes:
            return self.refuse(walk, node)
        parts, whole = [], walk.notes(node).read_in_part
        for tensor, channels, size in zip(node.inputs, known, sizes, strict=True):
            if channels is None and place != axis and walk.network.masks[tensor] is None:
                # It stays whole, and is read as far as it is needed.
                whole[tensor] = place
                continue
            if channels is None:
                channels = walk.local(place, size)
                walk.groups.lock(channels.group, f"{node.name}: joined with a tensor that keeps its channels")
                walk.need(channels, TRUE)
            parts.append(channels)
        if place == axis:
            y = walk.fresh(place, 0)
            y.group, y.live, y.value = (
                np.concatenate([getattr(p, name) for p in parts]) for name in ("group", "live", "value")
            )
            y.need = np.zeros(len(y.group), np.int64)
        else:
            for part in parts[1:]:
                walk.groups.tie(parts[0].group, part.group)
            # Two constants that no number is known of may be different ones.
            same = np.all([numbers(p.value) == parts[0].value for p in parts], axis=0)
            live = parts[0].live
            for part in parts[1:]:
                live = walk.formulas.either(live, part.live)
            if whole:
                reason = f"{node.name}: joined with a tensor that keeps its channels"
                walk.infinite.update(dict.fromkeys(parts[0].group.tolist(), reason))
                live, same = np.full(len(live), TRUE, np.int64), np.zeros(len(live), bool)
            y = walk.like(parts[0], live=live, value=np.where(same, parts[0].value, np.nan))
        walk.set(node, y)

    def backward(self, walk: Walk, node: Node) -> None:
        y = walk.output(node)
        if node.index in walk.refused or y is None:
            return super().backward(walk, node)
        start = 0
        for channels, tensor in zip(walk.inputs(node), node.inputs, strict=True):
            if y.axis != self.axis(walk, node):
                need = y.need
            else:
                size = walk.shape(tensor)[y.axis]
                need, start = y.need[start : start + size], start + size
            if channels is not None:
                walk.need(channels, need)

    def sources(self, walk: Walk, node: Node, keep: Callable[[np.ndarray], np.ndarray]) -> list[int]:
        y = walk.output(node)
        if y is None or y.axis != self.axis(walk, node):
            return node.inputs
        known = zip(node.inputs, walk.inputs(node), strict=True)
        return [t for t, channels in known if channels is None or keep(channels.group).any()]

    def reads(self, walk: Walk, node: Node) -> dict[int, int]:
        y = walk.output(node)
        if y is None or y.axis != self.axis(walk, node):
            return super().reads(walk, node)
        found = {}
        for tensor, channels in zip(node.inputs, walk.inputs(node), strict=True):
            found[tensor] = TRUE if channels is None else walk.formulas.any(walk.alive[channels.group])
        return found

    def emit(self, surgery: Any, node: Node, args: Any, kwargs: Any) -> Any:
        left = self.sources(surgery.walk, node, surgery.keep)
        (given, *_), _ = as_far_as_needed(surgery, node, args, kwargs)
        tensors = [x for x, t in zip(given, node.inputs, strict=True) if t in left]
        if len(tensors) == 1 and (node.layer is not None or surgery.walk.network.masks[left[0]] is None):
            return tensors[0]
        return surgery.copy(node)(tensors)
