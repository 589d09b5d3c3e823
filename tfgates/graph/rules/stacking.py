"""Tensors stacked along a new axis."""

import numpy as np

from tfgates.graph.network import Node
from tfgates.graph.rule import Rule, register_rule
from tfgates.graph.walk import Walk


@register_rule("Stack")
class StackRule(Rule):
    """Tensors side by side along a new axis: channel tied to channel."""

    reason = "its tensors carry their channels on different axes, or do not all carry them"
    multiplies = False

    def forward(self, walk: Walk, node: Node) -> None:
        known = walk.inputs(node)
        if all(channels is None for channels in known):
            return walk.set(node, None)
        if any(channels is None for channels in known) or len({c.axis for c in known}) > 1:
            return self.refuse(walk, node)
        rank = len(walk.shape(node.outputs[0]))
        place, axis = node.op.axis % rank, known[0].axis
        if place == 0:
            return self.refuse(walk, node, f"{node.name}: it stacks examples")
        value, live = known[0].value, known[0].live
        for channels in known[1:]:
            walk.groups.tie(known[0].group, channels.group)
            same = np.isfinite(value) & (value == channels.value)
            value, live = np.where(same, value, np.nan), walk.formulas.either(live, channels.live)
        return walk.set(node, walk.like(known[0], axis=axis + (place <= axis), live=live, value=value))

    def backward(self, walk: Walk, node: Node) -> None:
        if node.index in walk.refused or walk.output(node) is None:
            return super().backward(walk, node)
        for channels in walk.inputs(node):
            walk.need(channels, walk.output(node).need)
        return None
